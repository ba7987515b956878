"""Every shipped recipe runs through the real command line, and says what the study says."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lightning_fv import render
from lightning_fv.commands.main import main
from lightning_fv.commands.recipes import RECIPES, recipe_names
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.parameterizations import Fourier
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.runs.record import read_manifest
from lightning_fv.runs.settings import settings_of
from lightning_fv.transforms import RandomNoise, RandomWarp
from tests.helpers import low_pass, save_picture, smooth_photos


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_runs_two_steps(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    save_picture(tmp_path / "photo.png", smooth_photos(70, 80)[0])
    start = ["--start", str(tmp_path / "photo.png")] if name in ("accentuation", "deepdream") else []
    options = ["--out", str(run), "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"]
    code = main(["--config", name, *start, *options])
    assert code == 0 or name == "study_channels"  # 2 steps wake no dead channel
    records = read_manifest(run / "manifest.jsonl")
    one = name in ("deepdream", "study_penalty", "study_transforms", "study_upscaling")
    assert len(records) == (1 if one else {"study_channels": 5, "study_classes": 4}.get(name, 8))
    assert {record.steps for record in records} == {2}


def test_default_recipe_and_python_defaults_are_the_same() -> None:
    recipe = yaml.safe_load((RECIPES / "default.yaml").read_text())["model"]
    bare = FeatureVisualizer()
    assert settings_of(bare.parameterization) == settings_of(Fourier(**recipe["parameterization"].get("init_args", {})))
    warp, noise = recipe["transforms"]
    assert settings_of(bare.transforms[0]) == settings_of(RandomWarp(**warp["init_args"]))
    assert settings_of(bare.transforms[1]) == settings_of(RandomNoise(**noise["init_args"]))
    optimizer = bare.describe()["optimizer"]
    assert optimizer["class"].split(".")[-1] == recipe["optimizer"]["class_path"].split(".")[-1]
    assert {k: optimizer[k] for k in recipe["optimizer"]["init_args"]} == recipe["optimizer"]["init_args"]


def settings(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, Any]:
    """The settings of a run by a recipe, with those of the recipes that it builds upon."""
    assert main(["--config", name, "--print_config"]) == 0
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", ["study_channels", "study_classes"])
def test_figures_of_the_study_differ_in_their_targets_alone(capsys: pytest.CaptureFixture[str], name: str) -> None:
    figure, strategy = (settings(capsys, n) for n in (name, "study_upscaling"))
    assert figure.pop("targets") != strategy.pop("targets")
    if name == "study_channels":  # layers 3 and 4 start dead
        assert (figure["model"].pop("redirect_steps"), strategy["model"].pop("redirect_steps")) == (800, 16)
    assert figure == strategy


@pytest.mark.parametrize("name", ["study_channels", "study_classes"])
def test_recipes_of_the_study_fit_imagenet_networks_as_they_are(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    network = ["--network", "torchvision/resnet18", "--no-weights", "--categories", str(tmp_path / "names")]
    names = [f"class {i}" for i in range(997)] + ["pizza", "black swan", "brambling"]
    (tmp_path / "names").write_text("\n".join(["iPod", *names[1:]]))
    options = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]
    main(["--config", name, *network, "--out", str(run), *options])
    targets = [record.target for record in read_manifest(run / "manifest.jsonl")]
    if name == "study_classes":
        assert targets == ["logits:brambling", "logits:black swan", "logits:pizza", "logits:iPod"]
    else:
        assert targets == ["layer1:63", "layer2:127", "layer3:255", "layer4:511", "logits:brambling"]


def test_accentuation_has_the_numbers_of_its_authors(capsys: pytest.CaptureFixture[str]) -> None:
    model = settings(capsys, "accentuation")["model"]
    crop, noise = (transform["init_args"] for transform in model["transforms"])
    assert crop == {"smallest": 0.5, "largest": 1.0}
    assert (noise["std"], model["optimizer"]["init_args"]["lr"]) == (0.02, 0.05)
    assert model["parameterization"]["class_path"] == "lightning_fv.parameterizations.Fourier"
    (penalty,) = model["penalties"]
    assert penalty["init_args"] == {"layer": "layer2", "weight": 1.0}


def test_accentuation_keeps_the_photo_and_raises_the_logit(tmp_path: Path) -> None:
    picture = render("demo", "logits:beacon", steps=48, progress=False).images
    save_picture(tmp_path / "photo.png", picture[0])
    words = ["--targets", "logits:pizza", "--start", str(tmp_path / "photo.png"), "--trainer.accelerator", "cpu"]
    assert main(["--config", "accentuation", *words, "--out", str(tmp_path / "run")]) == 0
    (record,) = read_manifest(tmp_path / "run" / "manifest.jsonl")
    before = render("demo", "logits:pizza", steps=1, start=picture, progress=False).scores
    assert record.score is not None
    assert record.score > float(before) + 5
    accentuated = read_picture_tensor(tmp_path / "run" / str(record.image))[None]
    assert np.corrcoef(low_pass(accentuated).ravel(), low_pass(picture).ravel())[0, 1] > 0.8


def test_deepdream_has_the_numbers_of_its_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = settings(capsys, "deepdream")
    (transform,), (grow,) = recipe["model"]["transforms"], recipe["trainer"]["callbacks"]
    warp, growth = transform["init_args"], grow["init_args"]
    assert (round(warp["crop"] / 2 * 224, 1), round(warp["pad"] * 224, 1)) == (32, 32)  # jitter; the size stays
    assert (warp["rotate"], warp["scale"]) == (0, [1, 1])
    assert growth["factor"] == 1.4
    assert growth["to"] / recipe["model"]["size"] == pytest.approx(1.4**3)  # four octaves, the photo's included
    assert recipe["trainer"]["max_steps"] == 4 * growth["every"] == 40


def test_deepdream_makes_a_layer_respond_to_a_photo_that_stays_visible(tmp_path: Path) -> None:
    photo, run = tmp_path / "photo.png", tmp_path / "run"
    save_picture(photo, smooth_photos(100, 120)[0])
    assert (
        main(["--config", "deepdream", "--start", str(photo), "--out", str(run), "--trainer.accelerator", "cpu"]) == 0
    )
    (record,) = read_manifest(run / "manifest.jsonl")
    assert record.size == [176, 176]
    still = partial(torch.optim.SGD, lr=1e-9)
    plain = render("demo", "layer3", start=photo, size=176, steps=1, transforms=[], optimizer=still, progress=False)
    assert record.score is not None
    assert record.score > 2 * float(plain.scores[0])
    dream = read_picture_tensor(run / str(record.image))[None]
    assert np.corrcoef(low_pass(dream).ravel(), low_pass(plain.images).ravel())[0, 1] > 0.8


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("study_")])
def test_recipes_of_the_study_have_its_numbers(capsys: pytest.CaptureFixture[str], name: str) -> None:
    recipe = settings(capsys, name)
    model = recipe["model"]
    optimizer = model["optimizer"]
    assert (optimizer["class_path"], optimizer["init_args"]["lr"]) == ("torch.optim.Adam", 0.001)
    assert model["parameterization"]["class_path"] == "lightning_fv.parameterizations.Pixel"
    assert model["parameterization"]["init_args"]["sd"] == 0.01
    assert recipe["trainer"]["max_steps"] == 4096
    assert model["stage_steps"] == 50
    (transform,) = model["transforms"]
    warp = transform["init_args"]
    assert transform["class_path"] == "lightning_fv.transforms.RandomWarp"
    assert [round(warp[key] * 224, 1) for key in ("pad", "crop")] == [24, 12]
    assert (warp["rotate"], warp["padding_mode"]) == (20, "grey")
    assert [round(side, 3) for side in warp["scale"]] == [round(1 / 1.5, 3), 1.5]
    callbacks = {c["class_path"].split(".")[-1]: c["init_args"] for c in recipe["trainer"]["callbacks"] or []}
    if name == "study_transforms":
        assert (callbacks, model["penalties"], model["size"]) == ({}, None, None)
    elif name == "study_penalty":
        (penalty,) = model["penalties"]
        assert penalty == {"class_path": "lightning_fv.objectives.L1", "init_args": {"weight": 64.0, "center": 0.5}}
        assert callbacks == {"PeriodicBlur": {"every": 300, "sigma": 1 / 128}}
        assert model["size"] is None
    else:
        assert round(model["size"] * 224, 1) == 64
        assert model["penalties"] is None
        assert list(callbacks) == ["ProgressiveUpscale"]
        grow = callbacks["ProgressiveUpscale"]
        assert (round(grow["to"] * 224), grow["factor"], grow["every"], grow["blur"]) == (400, 1.1, 50, 1 / 128)
