"""The settings of a run that Python started. That the command line continues it is tested in test_api.py."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelSummary

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, render
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.engines.config import (
    ONLY_RENDER,
    check_network,
    config_text,
    job_origin,
    load_run_network,
    only_render,
    prepared_as_in,
    read_config,
    refuse_only_render,
)
from lightning_fv.engines.plan import Setup, make_plan
from lightning_fv.errors import RunFolderError, UsageError
from lightning_fv.objectives import Facets, Function, Logit
from lightning_fv.runs.folder import RunFolder
from tests.helpers import TinyNet

OPTIONS = {"max_steps": 3, "callbacks": []}


def test_a_network_as_it_was_loaded() -> None:
    network = load_network("demo", None, mean=(0.5, 0.5, 0.5), input_size=(32, 48))
    config = yaml.safe_load(
        config_text(Setup(network, FeatureVisualizer(size=(20, 16)), OPTIONS), "logits:0+layer1", 4)
    )
    assert config["network"] == "demo"
    assert config["no_weights"]
    assert config["mean"] == [0.5, 0.5, 0.5]
    assert config["input_size"] == [32, 48]
    assert config["std"] is None
    assert config["targets"] == ["logits:0", "layer1"]
    assert config["trainer"] == {"max_steps": 3, "callbacks": []}
    assert config["model"]["size"] == [20, 16]
    assert (config["model"]["diversity"], config["model"]["diversity_layer"]) == (0.0, None)
    assert config["batch_size"] == 4


def test_several_pictures_and_their_diversity() -> None:
    recipe = FeatureVisualizer(diversity=1, diversity_layer="layer2")
    config = yaml.safe_load(
        config_text(Setup(load_network("demo"), recipe, OPTIONS), ["logits:0 x2", Facets(Logit(1), 3)], 4)
    )
    assert (config["model"]["diversity"], config["model"]["diversity_layer"]) == (1, "layer2")
    assert config["targets"][0] == "logits:0 x2"
    assert config["targets"][1]["init_args"]["count"] == 3


def test_the_settings_in_a_picture_are_those_of_its_job_alone() -> None:
    """What is computed once for all jobs does not hold what each has of its own."""
    options = {"max_steps": 3, "devices": 4, "logger": True, "callbacks": [ProgressiveUpscale(to=96), ModelSummary()]}
    setup = Setup(load_network("demo"), FeatureVisualizer(), options, seed=7)
    plan = make_plan(setup, ["layer4:1 x2", Logit(11) - Logit(12), "logits:pizza"], 2)
    first, second = (job_origin(plan, job) for job in plan.jobs)
    assert [first["job"], second["job"]] == [job.id for job in plan.jobs]
    assert first["digest"] == setup.network.digest()
    assert first["config"]["targets"] == ["layer4:1 x2"]
    assert [entry if isinstance(entry, str) else entry["class_path"] for entry in second["config"]["targets"]] == [
        "lightning_fv.objectives.base.Sum",
        "logits:11",
    ]
    for origin in (first, second):
        assert (origin["config"]["seed"], origin["config"]["batch_size"]) == (7, 2)
        trainer = origin["config"]["trainer"]
        assert trainer.keys() == {"max_steps", "accumulate_grad_batches", "callbacks"}
        assert [callback["init_args"]["to"] for callback in trainer["callbacks"]] == [96]
        assert json.loads(json.dumps(origin)) == origin
    without = Setup(VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3), FeatureVisualizer(), OPTIONS)
    plan = make_plan(without, "logits:0", 2)
    assert "was not loaded by its name" in job_origin(plan, plan.jobs[0])["reason"]


class Own(FeatureVisualizer):
    pass


def test_what_only_render_can_continue(tmp_path: Path) -> None:
    demo = load_network("demo")
    plain = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3)
    function = Function(lambda activations, images: images.flatten(1).mean(1), layers=[], name="x")
    for setup, targets, told in (
        (Setup(plain, FeatureVisualizer(), OPTIONS), "logits:0", "the network TinyNet was not loaded by its name"),
        (Setup(demo, Own(), OPTIONS), "logits:0", "Own is a subclass of FeatureVisualizer"),
        (Setup(demo, FeatureVisualizer(), OPTIONS), function, "<lambda> is not defined at the top level"),
        (Setup(demo, FeatureVisualizer(), OPTIONS, start=torch.zeros(3, 4, 4)), "logits:0", "start is a tensor"),
    ):
        config = yaml.safe_load(config_text(setup, targets, 4))
        assert told in config[ONLY_RENDER]
        assert config["batch_size"] == 4
    folder = RunFolder(tmp_path / "run")
    folder.create(config_text(Setup(plain, FeatureVisualizer(), OPTIONS), "logits:0", 4))
    with pytest.raises(
        RunFolderError,
        match=r"named on the command line \(the network TinyNet .*\); continue it with lightning_fv.render",
    ):
        refuse_only_render(folder)
    folder.config.write_text("- 1")
    with pytest.raises(RunFolderError, match="truncated or modified"):
        read_config(folder)


def rendered(out: Path, network: VisionNetwork, targets: object = "logits:0") -> RunFolder:
    render(network, targets, out=out, size=16, steps=1, progress=False, accelerator="cpu")  # type: ignore[arg-type]
    return RunFolder(out)


def test_the_network_of_a_run_is_loaded_with_its_options(tmp_path: Path) -> None:
    network = load_network("demo/plain", mean=(0.4, 0.4, 0.4), input_size=(48, 48))
    run = rendered(tmp_path / "run", network)
    again = load_run_network(run)
    assert (again.name, again.mean, again.input_size) == (network.name, network.mean, (48, 48))
    assert again.digest() == network.digest()
    assert only_render(run) is None
    check_network(run, network)
    told = r"another network than demo: the weights' digest is .*input_size is \[64, 64\], in the run \[48, 48\]; give"
    with pytest.raises(RunFolderError, match=told):
        check_network(run, load_network("demo"))
    with pytest.raises(
        RunFolderError, match=r"than demo/plain: preparation.mean is \[[^;]*; preparation.input_size is [^;]*; give"
    ):
        check_network(run, load_network("demo/plain"))


def test_a_network_without_settings_is_loaded_by_the_name_in_the_records(tmp_path: Path) -> None:
    function = Function(lambda activations, images: images.flatten(1).mean(1), layers=[], name="x")
    run = rendered(tmp_path / "named", load_network("demo"), function)
    assert "<lambda>" in str(only_render(run))
    assert load_run_network(run).name == "demo"
    plain = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(UsageError, match=r"cannot be loaded by the name 'TinyNet'.*give it: network="):
        load_run_network(rendered(tmp_path / "plain", plain))


def test_a_plain_module_is_given_pictures_as_in_the_run(tmp_path: Path) -> None:
    own = {"mean": (0.4,) * 3, "std": (0.3,) * 3, "input_size": (24, 20), "channel_axes": {"conv1": 1}}
    network = VisionNetwork(TinyNet(), **own)  # type: ignore[arg-type]
    run = rendered(tmp_path / "run", network)
    again = prepared_as_in(run, TinyNet(), "abcde")
    assert (again.settings(), again.categories) == (network.settings(), tuple("abcde"))
    check_network(run, again)
    with pytest.raises(RunFolderError, match=r"than TinyNet: the weights' digest is \S+, in the run \S+; give"):
        check_network(run, prepared_as_in(run, TinyNet(1)))
    (tmp_path / "run" / ".run" / "plan.json").unlink()
    with pytest.raises(RunFolderError, match="does not tell how pictures were prepared"):
        prepared_as_in(run, TinyNet())
