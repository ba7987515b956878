"""Recipes in Python."""

from pathlib import Path

import pytest
import torch

import lightning_fv
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.commands.recipes import recipe_names
from lightning_fv.errors import UsageError
from lightning_fv.runs.picture import read_picture_tensor


def test_pictures_are_those_of_the_command_line(tmp_path: Path) -> None:
    recipe = lightning_fv.load_recipe("detailed")
    assert recipe.pop("steps") == 128
    options = ["--trainer.max_steps", "4", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    assert main(["--config", "detailed", "--targets", "layer4:3", "--out", str(tmp_path / "run"), *options]) == 0
    rendering = lightning_fv.render(
        "demo", "layer4:3", steps=4, out=tmp_path / "python", progress=False, accelerator="cpu", **recipe
    )
    (file,) = (tmp_path / "run" / "images").iterdir()
    assert torch.equal(read_picture_tensor(file), read_picture_tensor(tmp_path / "python" / "images" / file.name))
    default = lightning_fv.render("demo", "layer4:3", steps=4, progress=False, accelerator="cpu")
    assert not torch.allclose(default.images, rendering.images, atol=0.01)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = lightning_fv.load_recipe(name)
    told = capsys.readouterr().err
    assert ("the recipe deepdream changes a photo; give render start=" in told) == (name == "deepdream")
    assert told.count("\n") == (name == "deepdream")
    assert isinstance(recipe["visualizer"], lightning_fv.FeatureVisualizer)
    assert recipe["steps"] > 0
    if name == "deepdream":
        assert [type(callback) for callback in recipe["callbacks"]] == [ProgressiveUpscale]


def test_a_file_and_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: pattern\nmodel: {size: 40}\ntrainer: {max_steps: 7}\n")
    recipe = lightning_fv.load_recipe(str(tmp_path / "mine.yaml"))
    assert (recipe["steps"], recipe["callbacks"], recipe["visualizer"].asked_size) == (7, [], 40)
    assert len(recipe["visualizer"].penalties) == 1
    with pytest.raises(UsageError, match="no such recipe; did you mean detailed"):
        lightning_fv.load_recipe("detailled")
