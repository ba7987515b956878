"""Mistakes on the command line of the commands without a recipe."""

import pytest

from lightning_fv.commands.main import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["layers"], "the following arguments are required: network (see lightning-fv layers --help)"),
        (["gallery", "x", "--outt", "y"], "unrecognized arguments: --outt y (see lightning-fv gallery --help)"),
        (
            ["layers", "demo", "--width", "wide"],
            "argument --width: invalid int value: 'wide' (see lightning-fv layers --help)",
        ),
        (
            ["compare", "--networks"],
            "argument --networks: expected at least one argument (see lightning-fv compare --help)",
        ),
    ],
)
def test_mistakes_are_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"lightning-fv: error: {told}\n"
