"""Steps replayed as CUDA graphs: the same pictures, and hardly any work for the host."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, load_network, render
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.objectives import L1, Channel, Function, Logit, Objective, TotalVariation
from lightning_fv.optimization import step_block
from lightning_fv.optimization.captured_step import CapturedSteps
from lightning_fv.parameterizations import CPPN, Alpha, LaplacianPyramid, Pixel
from lightning_fv.transforms import Pad, RandomBlur, RandomFlip, RandomJitter, RandomNoise, RandomScale, RandomWarp
from tests.mock_device.graph import MockGraph
from tests.mock_device.ledger import Counts
from tests.mock_device.tensors import DeviceState

STEPS, REDIRECTED = 24, 2


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[MockGraph]:
    """All graphs that are made."""
    made: list[MockGraph] = []
    init = MockGraph.__init__

    def noted(self: MockGraph) -> None:
        init(self)
        made.append(self)

    monkeypatch.setattr(MockGraph, "__init__", noted)
    monkeypatch.setattr(step_block, "SECONDS", 3600.0)  # blocks must not depend on how busy this machine is
    return made


def rendered(cuda_graph: bool, *callbacks: Any, targets: Any = "logits:0-2", **recipe: Any) -> Tensor:
    """Pictures (B, 3, H, W) of a render of the demo network in stages of 12 steps."""
    settings = {"size": 24, "stage_steps": 12, "redirect_steps": REDIRECTED, "cuda_graph": cuda_graph}
    visualizer = FeatureVisualizer(**{**settings, **recipe})
    options = {"accelerator": "cuda", "progress": False}
    return render(
        load_network("demo"), targets, steps=STEPS, callbacks=list(callbacks), visualizer=visualizer, **options
    ).images


RECIPES: dict[str, Callable[[], dict[str, Any]]] = {
    "default": dict,
    "transforms": lambda: {
        "transforms": [Pad(), RandomJitter(), RandomScale(), RandomFlip(), RandomBlur(), RandomNoise()]
    },
    "pixel": lambda: {"parameterization": Pixel(), "penalties": [L1(0.1), TotalVariation(0.1)], "targets": "layer2:1"},
    "pyramid": lambda: {"parameterization": LaplacianPyramid(), "targets": "layer2:1"},
    "cppn": lambda: {"parameterization": CPPN(), "targets": "layer2:1"},
    "alpha": lambda: {"parameterization": Alpha(), "targets": "layer2:1", "transforms": [RandomWarp()]},
    "diversity in chunks": lambda: {"targets": "layer3:1 x3+layer2:5", "diversity": 1.0, "chunk": 2},
    "mixed": lambda: {"targets": [Logit(1), Channel("layer3", 5), Channel("layer3", 1) - 0.5 * Logit(4)]},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("cppn", "pyramid", "pixel") else name for name in RECIPES],
)
def test_the_same_bits(mock_cuda: DeviceState, graphs: list[MockGraph], name: str) -> None:
    expected = rendered(False, **RECIPES[name]())
    assert graphs == []
    found = rendered(True, **RECIPES[name]())
    assert torch.equal(found, expected)
    # Not replayed are redirected steps, the first of all others, and those that are Lightning's: after logs (10, 20), and in a new stage (12).
    assert [graph.replays for graph in graphs] == [STEPS - REDIRECTED - 1 - 3]


def test_the_same_bits_through_growth_and_blur(mock_cuda: DeviceState, graphs: list[MockGraph]) -> None:
    changes = PeriodicBlur(every=5), ProgressiveUpscale(to=32, factor=1.2, every=9)
    expected = rendered(False, *changes)
    found = rendered(True, *changes)
    assert len(graphs) == 3  # of all sizes
    assert torch.equal(found, expected)


def test_what_the_host_does_in_a_replayed_step(
    mock_cuda: DeviceState, graphs: list[MockGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[int, Counts] = {}
    do = CapturedSteps.__call__

    def counted(self: CapturedSteps, step: int, work: Any) -> None:
        with mock_cuda.ledger.counting() as steps[step]:
            do(self, step, work)

    monkeypatch.setattr(CapturedSteps, "__call__", counted)
    rendered(True)
    # Every 16 steps the device is asked for dead units, before the step.
    replayed = [counts for step, counts in steps.items() if step > REDIRECTED + 1]
    assert len(replayed) > 12
    assert {counts.operations.total() for counts in replayed} == {
        5
    }  # three copies of draws, the step's number, and the graph
    assert not any(counts.waits for counts in replayed)
    assert steps[REDIRECTED].operations.total() > 100


def loudness(activations: Any, images: Tensor) -> Tensor:
    return images.flatten(1).mean(1)


class Own(Objective):
    layers = frozenset(("logits",))

    def __repr__(self) -> str:
        return "Own()"

    def __call__(self, activations: Any, images: Tensor) -> Tensor:
        return activations["logits"].mean(1)


UNRECORDED: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "SGD": ("the optimizer is SGD", lambda: {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1.0)}),
    "Adam": ("fused=True", lambda: {"optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.1)}),
    "transform": ("a transform is not one of this package", lambda: {"transforms": [nn.Identity()]}),
    "function": ("Function is not of this package", lambda: {"targets": [Function(loudness, layers=[])]}),
    "objective": ("Own is not of this package", lambda: {"targets": [Logit(1) - Own()]}),
}


QUICK = ("transform", "objective")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in UNRECORDED]
)
def test_a_render_that_cannot_be_recorded_says_so_and_is_done_all_the_same(
    mock_cuda: DeviceState, graphs: list[MockGraph], recwarn: pytest.WarningsRecorder, name: str
) -> None:
    reason, recipe = UNRECORDED[name]
    expected = rendered(False, **recipe())
    assert torch.equal(rendered(True, **recipe()), expected)
    (line,) = (str(w.message) for w in recwarn if "CUDA graphs" in str(w.message))
    assert reason in line
    assert "\n" not in line
    assert graphs == []


def test_a_network_that_reads_the_device_falls_back(
    mock_cuda: DeviceState, graphs: list[MockGraph], recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rendered(False)
    objectives = FeatureVisualizer.objectives

    def reading(self: FeatureVisualizer, seen: Tensor, *args: Any) -> Tensor:
        seen.sum().item()
        return objectives(self, seen, *args)

    monkeypatch.setattr(FeatureVisualizer, "objectives", reading)
    assert torch.equal(rendered(True), expected)
    (line,) = (str(w.message) for w in recwarn if "CUDA graphs" in str(w.message))
    assert "_local_scalar_dense" in line
    assert [graph.replays for graph in graphs] == [0]


def test_a_step_that_holds_what_should_change_is_noticed(
    mock_cuda: DeviceState, graphs: list[MockGraph], recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a factor of the objective that is another each time it is computed."""
    objectives, calls = FeatureVisualizer.objectives, [0]

    def changing(self: FeatureVisualizer, seen: Tensor, images: Tensor, step: Any, *args: Any) -> Tensor:
        calls[0] += isinstance(step, Tensor)
        found = objectives(self, seen, images, step, *args)
        assert self.objective_values is not None
        self.objective_values = self.objective_values * (1 + calls[0])
        return found

    expected = rendered(False)
    monkeypatch.setattr(FeatureVisualizer, "objectives", changing)
    assert torch.equal(rendered(True), expected)
    (line,) = (str(w.message) for w in recwarn if "CUDA graphs" in str(w.message))
    assert "other objectives" in line


def test_on_a_cpu_it_is_one_line(recwarn: pytest.WarningsRecorder) -> None:
    visualizer = FeatureVisualizer(size=16, cuda_graph=True)
    render("demo", "logits:0", steps=2, visualizer=visualizer, accelerator="cpu", progress=False)
    (line,) = (str(w.message) for w in recwarn if "CUDA graphs" in str(w.message))
    assert "need a CUDA device" in line
