"""No step makes the host wait for the device: it hands over the next one while the device still computes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lightning_fv import FeatureVisualizer, load_network, render
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.objectives import (
    L1,
    Channel,
    Direction,
    Layer,
    Logit,
    Neuron,
    Opacity,
    Pattern,
    SAELatent,
    TotalVariation,
)
from lightning_fv.optimization.dead_units import DEAD_STEPS
from lightning_fv.parameterizations import CPPN, MACO, Alpha, LaplacianPyramid, Pixel, Shared
from lightning_fv.transforms import (
    Pad,
    RandomBlur,
    RandomCrop,
    RandomFlip,
    RandomJitter,
    RandomNoise,
    RandomRotate,
    RandomScale,
    RandomTranslate,
    RandomWarp,
    Resize,
)
from tests.helpers import autoencoder, noise
from tests.mock_device.count import bare_pass, operations_in_blocks
from tests.mock_device.phases import Phases
from tests.mock_device.tensors import DeviceState

STEPS = 20
LOGGED = {7, 15}
"""Steps whose mean objective Lightning logs, and reads."""


def phases(device: DeviceState, targets: Any, *callbacks: Any, steps: int = STEPS, **recipe: Any) -> Phases:
    """A render of the demo network at 32 px without a run folder, in one stage."""
    counted = Phases(device)
    try:
        rendering = render(
            load_network("demo"), targets, steps=steps, accelerator="cuda", callbacks=[counted, *callbacks], progress=False,
            visualizer=FeatureVisualizer(size=32, stage_steps=steps, **recipe),
        )  # fmt: skip
    finally:
        counted.close()
    assert len(counted.steps) == steps
    assert all(record.status in ("done", "dead") for record in rendering.records)
    return counted


def waits_of_steps(counted: Phases, *beside: int) -> dict[int, Any]:
    """Waits of all steps that have any; of the first, which puts constants on the device, and of ``beside`` none are told."""
    known = {0, *LOGGED, *beside}
    return {step: counts.waits for step, counts in counted.steps.items() if counts.waits and step not in known}


def mixed(folder: Path) -> list[Any]:
    """Objectives of all kinds that a batch may hold: several groups, and several units in each."""
    save_file(autoencoder(128, 12), folder / "sae.safetensors", {"architecture": "topk", "k": "3", "layer": "layer3"})
    latent = partial(SAELatent, folder / "sae.safetensors", layer="layer3")
    neurons = [Neuron("layer2", unit, unit, 2) for unit in range(8)]
    directions = [Direction("layer3", noise(128, seed=seed)) for seed in range(2)]
    return [
        Logit(1), Logit(2), Channel("layer3", 5), Channel("layer3", 9), *neurons, *directions, latent(1), latent(2),
        latent(3, reading="activation"), Layer("layer2"), Channel("layer3", 1) - 0.5 * Logit(4),
    ]  # fmt: skip


def test_a_step_of_the_default_recipe_does_not_wait(mock_cuda: DeviceState) -> None:
    counted = phases(mock_cuda, "logits:0-3")
    assert waits_of_steps(counted, DEAD_STEPS) == {}
    (wait,) = counted.steps[DEAD_STEPS].waits.elements()
    assert wait[0].startswith("optimization/dead_units.py")


def test_a_step_of_a_mixed_batch_does_not_wait(mock_cuda: DeviceState, tmp_path: Path) -> None:
    counted = phases(mock_cuda, mixed(tmp_path))
    assert waits_of_steps(counted, DEAD_STEPS) == {}


def test_the_operations_of_a_step_beyond_the_bare_pass(mock_cuda: DeviceState) -> None:
    """Launching an operation takes a GPU's host longer than a small operation takes to compute."""
    network, targets = load_network("demo"), "logits:0-1"
    step, mean = operations_in_blocks(mock_cuda, network, targets)
    bare, _ = bare_pass(mock_cuda, network, targets)
    assert step - bare.operations.total() <= 40
    assert mean - bare.operations.total() <= 43


@pytest.mark.slow
def test_a_step_in_chunks_does_not_wait(mock_cuda: DeviceState, tmp_path: Path) -> None:
    counted = phases(mock_cuda, mixed(tmp_path), chunk=5)
    assert waits_of_steps(counted, DEAD_STEPS) == {}


RECIPES: dict[str, Callable[[], dict[str, Any]]] = {
    "diversity": lambda: {"diversity": 1.0},
    "penalties": lambda: {"penalties": [L1(0.5), TotalVariation(0.1)]},
    "opacity": lambda: {"parameterization": Alpha(), "penalties": [Opacity()]},
    "maco": lambda: {"parameterization": MACO(opacity=True)},
    "cppn": lambda: {"parameterization": CPPN()},
    "pyramid": lambda: {"parameterization": LaplacianPyramid()},
    "shared": lambda: {"parameterization": Shared(3)},
    "pixel": lambda: {"parameterization": Pixel(decorrelate=True)},
    "sgd": lambda: {"optimizer": partial(torch.optim.SGD, lr=0.1)},
    "schedule": lambda: {"lr_scheduler": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=STEPS)},
    "warps": lambda: {"transforms": [Pad(), RandomWarp(padding_mode="grey"), RandomNoise()]},
    "lucid": lambda: {
        "transforms": [RandomJitter(), RandomScale(choices=[1, 0.9, 1.1]), RandomRotate(choices=[-5, 0, 5])]
    },
    "others": lambda: {"transforms": [RandomFlip(), RandomTranslate(), RandomCrop(), Resize(), RandomBlur()]},
}
"""Parts of recipes, made on the machine that has the mock device."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_of_other_recipes_does_not_wait(mock_cuda: DeviceState, name: str) -> None:
    counted = phases(mock_cuda, "logits:pizza x3", steps=8, redirect_steps=4, **RECIPES[name]())
    assert waits_of_steps(counted) == {}


def test_a_step_with_the_patterns_of_units_does_not_wait(mock_cuda: DeviceState) -> None:
    counted = phases(mock_cuda, "layer4:3 x2+layer3:1", steps=8, redirect_steps=4, penalties=[Pattern()])
    assert waits_of_steps(counted) == {}


def test_a_step_between_growths_and_blurs_does_not_wait(mock_cuda: DeviceState) -> None:
    growth = ProgressiveUpscale(to=48, every=6)
    counted = phases(mock_cuda, "logits:0-1", growth, PeriodicBlur(every=7))
    assert waits_of_steps(counted, DEAD_STEPS, 6, 7, 12, 14, 18) == {}
