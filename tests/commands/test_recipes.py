"""Config files that build upon a recipe or another file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_fv.commands.main import main
from lightning_fv.commands.recipes import RECIPES, check_start_given, recipe_args, recipe_names
from lightning_fv.errors import UsageError
from tests.processes import QUICK

OWN = """\
# A comment
base: study_upscaling # and another
seed: 7
model:
  optimizer: {init_args: {lr: 5e-2}}
trainer:
  max_steps: 1
"""


def settings(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """What the command line makes of some options."""
    assert main([*map(str, words), "--print_config"]) == 0
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


def test_config_files_come_first_and_recipes_are_files() -> None:
    words = ["--seed", "3", "-c", "default", "--out", "x", "--config=study_transforms"]
    files = [f"--config={RECIPES / name}.yaml" for name in ("default", "study_transforms")]
    assert recipe_args(words) == [*files, "--seed", "3", "--out", "x"]
    assert recipe_args(["--resume"]) == ["--resume"]


def test_a_base_lies_beneath_and_leaves_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, expected = tmp_path / "own.yaml", settings(capsys, "--config", "study_upscaling")
    own.write_text(OWN)
    found = settings(capsys, "--config", own)
    assert "base" not in found
    expected["seed"] = 7
    expected["model"]["optimizer"]["init_args"]["lr"] = 0.05
    expected["trainer"]["max_steps"] = 1
    assert found == expected
    # The run's own settings need neither the file nor its base.
    run = tmp_path / "run"
    small = ["--targets", "logits:0", "--model.size", "16", "--trainer.callbacks", "[]"]
    assert main(["--config", str(own), "--out", str(run), *small, *QUICK]) == 0
    assert "base" not in yaml.safe_load((run / "config.yaml").read_text())
    own.unlink()
    assert main(["--out", str(run), "--resume", *QUICK]) == 0


def test_a_base_is_found_beside_its_file_whatever_its_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "top.yaml").write_text("base: ../middle.yaml\nseed: 1\n")
    (tmp_path / "middle.yaml").write_text("{seed: 2, base: deep/bottom.yaml, batch_size: 2}\n")
    (tmp_path / "deep" / "bottom.yaml").write_text("seed: 3\nbatch_size: 3\ntargets: [layer1:3]\n")
    found = settings(capsys, "--config", tmp_path / "deep" / "top.yaml")
    assert (found["seed"], found["batch_size"], found["targets"]) == (1, 2, ["layer1:3"])


def test_lists_are_replaced_and_several_files_may_have_a_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text("base: study_penalty\nmodel: {transforms: []}\n")
    found = settings(capsys, "--config", "study_upscaling", "--config", tmp_path / "own.yaml")
    assert found["model"]["transforms"] == []
    (callback,) = found["trainer"]["callbacks"]
    assert callback["class_path"].endswith("PeriodicBlur")
    assert found["model"]["penalties"][0]["init_args"]["weight"] == 64.0


def test_a_file_may_hold_its_base_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yaml").write_text("base: study_penalty\n")
    found = settings(capsys, "--config", tmp_path / "own.yaml")
    assert found == settings(capsys, "--config", "study_penalty")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("base: study_penalti\n", "own.yaml: base study_penalti: no such file and no such recipe; did you mean study_penalty"),
        ("base: gone.yaml\n", "own.yaml: base gone.yaml: no such file"),
        ("base:\n", "own.yaml: base must be the name of one recipe or config file"),
        ("base: [default]\n", "own.yaml: base must be the name of one recipe or config file"),
        ("base: default\nbase: study_penalty\n", "own.yaml: base must be the name of one recipe or config file"),
        ("base: own.yaml\n", "own.yaml: each is the base of the one before"),
        ("base: other.yaml\n", "other.yaml -> {folder}/own.yaml: each is the base of the one before"),
        ("base: list.yaml\n", "Unexpected config: - a"),
        ("base: default\nseedd: 3\n", "/own.yaml: seedd: Option 'seedd' is not accepted"),
        ("base: default\nmodel: {optimizer: {init_args: {lrr: 1}}}\n", "/own.yaml: model.optimizer.init_args.lrr: Option 'lrr' is not accepted; did you"),
        ("base: wrong.yaml\n", "/wrong.yaml: model.transforms.0.init_args.padd: Option 'padd' is not accepted"),
        ("seed: {}\n", "/own.yaml: seed: expected int, got {{}}"),
        ("base: default\nmodel: {base: default}\n", "/own.yaml: model.base: Group 'model' does not accept option 'base'"),
        ("base: {\n", "/own.yaml: Problems parsing config: while parsing a flow node did not find expected node content, line 2, column 1"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(content)
    (tmp_path / "other.yaml").write_text("base: own.yaml\n")
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "wrong.yaml").write_text("model: {transforms: [{class_path: RandomWarp, init_args: {padd: 1}}]}\n")
    assert main(["--config", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    assert said.format(folder=tmp_path) in line
    assert not (tmp_path / "run").exists()


BOMB = "".join(
    f"{name}: &{name} [{', '.join([of] * 9)}]\n"
    for name, of in zip("abcdefgh", ["x", *map("*{}".format, "abcdefg")], strict=True)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("seed: 1\n".encode("utf-16"), "own.yaml is not UTF-8 text (invalid start byte); save it as UTF-8"),
        (b"targets: caf\xe9\n", "own.yaml is not UTF-8 text"),
        (b"targets: " + b"[" * 3000 + b"]" * 3000, "own.yaml is nested too deeply"),
        (b"seed: " + b"9" * 5000, "own.yaml: the number 99999999999999999999... has 5000 characters"),
        (BOMB.encode(), "own.yaml holds more than 100000 values once its aliases (*name) are expanded"),
        (b"model: &a {size: *a}\n", "own.yaml holds more than 100000 values"),
    ],
)  # fmt: skip
def test_files_that_no_parser_copes_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    (tmp_path / "own.yaml").write_bytes(content)
    assert main(["--config", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_too_long_for_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no file, and is not repeated in full."""
    assert main(["--config", "x" * 5000]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no such file and no such recipe" in line
    assert len(line) < 2200


def test_a_base_on_the_command_line_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base", "default"]) == 2
    assert "base" in capsys.readouterr().err


def test_the_name_of_a_missing_recipe_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="--config defalt: no such file and no such recipe; did you mean default"):
        recipe_args(["--config", "defalt"])
    with pytest.raises(UsageError, match=f"recipes: {', '.join(recipe_names())}"):
        recipe_args(["--config"])


def test_a_recipe_that_changes_a_photo_is_given_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yaml").write_text("base: deepdream\ntargets: layer2\n")
    for config in ("deepdream", "accentuation", str(tmp_path / "own.yaml")):
        assert main(["--config", config, "--out", str(tmp_path / "run"), *QUICK]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "give --start FILE" in line
        assert not (tmp_path / "run").exists()
    check_start_given([*recipe_args(["--config", "deepdream"]), "--start=null"], None)  # noise was asked for


def test_a_mistake_on_the_command_line_is_not_that_of_a_config_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text("seed: 1\n")
    assert main(["--config", str(tmp_path / "own.yaml"), "--seed", "x", "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "own.yaml" not in line
    assert "seed: expected int, got x" in line
