"""What differs between two command lines, in a few lines."""

from pathlib import Path

import pytest

import lightning_fv.parameterizations  # noqa: F401  (its classes are found where they are defined)
from lightning_fv.commands.differences import difference_rows, differences
from lightning_fv.commands.main import main
from tests.processes import QUICK

SAVED = {
    "seed": 0,
    "targets": "logits:1",
    "out": "a",
    "model": {
        "parameterization": {"class_path": "lightning_fv.parameterizations.Fourier", "init_args": {"decay": 1.5}},
        "penalties": [],
        "transforms": [],
    },
    "trainer": {"callbacks": None, "devices": 2},
}


def test_spellings_of_the_same_settings_do_not_differ() -> None:
    same = {
        "seed": 0,
        "targets": ["logits:1"],
        "out": "b",
        "model": {
            "parameterization": {
                "class_path": "lightning_fv.parameterizations.fourier.Fourier", "init_args": {"decay": 1.5},
            },
            "penalties": None,
            "transforms": [],
        },
        "trainer": {"callbacks": [], "devices": 1},
    }  # fmt: skip
    assert differences(SAVED, same) == []


def test_another_class_and_no_transforms_differ_in_one_line_each() -> None:
    model = {"parameterization": {"class_path": "lightning_fv.parameterizations.Pixel"}, "transforms": None}
    found = differences(SAVED, {**SAVED, "model": model})
    assert [key for key, *_ in found] == ["model.parameterization.class_path", "model.transforms"]


def test_three_lines_are_shown_the_short_ones_first() -> None:
    rows = difference_rows([("a", 1, "x" * 500), ("b", 1, 2), ("c", 1, 2), ("d", 1, 2), ("e", 1, 2)])
    assert rows == [*(f"  {key}: 1 in the run, 2 now" for key in "bcd"), "  and 2 more"]
    (row,) = difference_rows([("a", 1, "x" * 500)])
    assert row == f"  a: 1 in the run, {'x' * 60}... now"


def test_another_recipe_in_the_folder_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(tmp_path / "run"), "--targets", "logits:1", "--trainer.max_steps", "1", *QUICK]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--config", "pattern"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "was started with other settings" in lines[0]
    assert 2 <= len(lines) <= 5
    assert max(map(len, lines[1:])) < 200


def test_a_picture_of_a_run_into_its_folder_differs_by_its_batch_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All other settings are the run's, as a picture's file spells them."""
    words = ["--out", str(tmp_path / "run"), "--targets", "logits:1", "--trainer.max_steps", "1", *QUICK]
    assert main(words) == 0
    capsys.readouterr()
    (picture,) = (tmp_path / "run" / "images").iterdir()
    assert main(["--from", str(picture), "--out", str(tmp_path / "run"), *QUICK]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == ["  batch_size: 24 in the run, 1 now"]
