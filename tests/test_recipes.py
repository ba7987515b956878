"""Every shipped recipe runs through the real command line, and says what the study says."""

from pathlib import Path

import pytest
import yaml

from lightning_fv.commands.main import main
from lightning_fv.commands.options import RECIPES, recipe_names
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.parameterizations import Fourier
from lightning_fv.runs.record import read_manifest
from lightning_fv.runs.settings import settings_of
from lightning_fv.transforms import RandomNoise, RandomWarp


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_runs_two_steps(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    code = main(["--config", name, "--out", str(run), "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"])
    assert code == 0 or name == "seed_channels"  # 2 steps wake no dead channel
    records = read_manifest(run / "manifest.jsonl")
    assert len(records) == {"default": 8, "seed_channels": 5, "seed_classes": 4}.get(name, 1)
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


@pytest.mark.parametrize("name", ["seed_channels", "seed_classes"])
def test_figures_of_the_study_differ_in_their_targets_alone(name: str) -> None:
    figure, strategy = (yaml.safe_load((RECIPES / f"{n}.yaml").read_text()) for n in (name, "seed_upscaling"))
    del figure["targets"], strategy["targets"]
    figure["model"].pop("redirect_steps", None)  # layers 3 and 4 start dead
    assert figure == strategy


@pytest.mark.parametrize("name", ["seed_channels", "seed_classes"])
def test_recipes_of_the_study_fit_imagenet_networks_as_they_are(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    network = ["--network", "torchvision/resnet18", "--no-weights", "--categories", str(tmp_path / "names")]
    names = [f"class {i}" for i in range(997)] + ["pizza", "black swan", "brambling"]
    (tmp_path / "names").write_text("\n".join(["iPod", *names[1:]]))
    options = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]
    main(["--config", name, *network, "--out", str(run), *options])
    targets = [record.target for record in read_manifest(run / "manifest.jsonl")]
    if name == "seed_classes":
        assert targets == ["logits:brambling", "logits:black swan", "logits:pizza", "logits:iPod"]
    else:
        assert targets == ["layer1:63", "layer2:127", "layer3:255", "layer4:511", "logits:brambling"]


@pytest.mark.parametrize("name", ["seed_transforms", "seed_penalty", "seed_upscaling"])
def test_recipes_of_the_study_have_its_numbers(name: str) -> None:
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    assert recipe["model"]["optimizer"] == {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}}
    assert recipe["trainer"]["max_steps"] == 4096
    assert recipe["model"]["stage_steps"] == 50
    warp = recipe["model"]["transforms"][0]["init_args"]
    assert [round(warp[key] * 224, 1) for key in ("pad", "crop")] == [24, 12]
    assert warp["rotate"] == 20
    assert [round(side, 3) for side in warp["scale"]] == [round(1 / 1.5, 3), 1.5]
    callbacks = {c["class_path"].split(".")[-1]: c["init_args"] for c in recipe["trainer"].get("callbacks", [])}
    if name == "seed_penalty":
        assert recipe["model"]["penalties"][0]["init_args"] == {"weight": 0.5, "center": 0.5}
        assert callbacks["PeriodicBlur"]["every"] == 300
    if name == "seed_upscaling":
        assert round(recipe["model"]["size"] * 224, 1) == 64
        grow = callbacks["ProgressiveUpscale"]
        assert (round(grow["to"] * 224), grow["factor"], grow["every"]) == (400, 1.1, 50)
