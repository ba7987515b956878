"""The command line as a whole: commands, help, exit codes."""

import errno
from collections.abc import Sequence

import pytest

from lightning_fv.commands import fit
from lightning_fv.commands.main import COMMANDS, main
from tests.processes import finish, run, start_python


def test_help_names_every_command_and_fits_on_two_screens(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert len(lines) <= 48
    assert all(len(line) <= 130 for line in lines)
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)
    for option in ("--targets", "--network", "--out", "--resume", "--config", "--start", "--help-all"):
        assert option in told


def test_the_commands_help(capsys: pytest.CaptureFixture[str]) -> None:
    for (
        name
    ) in COMMANDS:  # in processes of their own: help lists the objectives that there are, here also those of tests
        code, told = run(name, "--help")
        assert code == 0
        assert len([line for line in told.splitlines() if "lightning_fv.objectives." not in line]) <= 130
    assert main(["fit", "--help"]) == 0
    short = capsys.readouterr().out
    assert main(["fit", "--help-all"]) == 0
    whole = capsys.readouterr().out
    assert "--batch_size" in short
    assert "--trainer.max_steps" not in short
    assert "--trainer.max_steps" in whole
    assert "--model.size" in whole


def test_help_is_quick_and_the_gallery_needs_no_torch() -> None:
    code = (
        "import sys\nfrom lightning_fv.commands.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "bad = [m for m in ('kornia', 'torch', 'lightning', 'tensorboard') if m in sys.modules]\n"
        "assert not bad, bad"
    )
    for words in (["--help"], ["gallery", "--help"], ["open", "--help"], ["--version"]):
        ended, told = finish(start_python("-c", code, *words))
        assert ended == 0, told


def test_help_of_fit_imports_nothing_that_only_a_render_needs() -> None:
    code = (
        "import sys\nfrom lightning_fv.commands.main import main\ncode = main(['fit', '--help'])\n"
        "assert code == 0, code\n"
        "bad = [m for m in ('kornia', 'tensorboard', 'ray', 'timm') if m in sys.modules]\n"
        "assert not bad, bad"
    )
    ended, told = finish(start_python("-c", code))
    assert ended == 0, told
    assert "--targets" in told


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 1)]
)
def test_what_ends_a_command_is_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def broken(words: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(fit, "fit", broken)
    assert main([]) == main(["fit"]) == code
    assert capsys.readouterr().err.startswith("lightning-fv: ")
