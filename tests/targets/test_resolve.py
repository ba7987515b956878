"""Targets: what can be written, what it becomes, and what is said when it cannot be."""

import string

import pytest
import torch
from torch import Tensor, nn

from lightning_fv.errors import CaptureError, LayerNotFoundError, TargetError
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import Channel, Layer, Logit, Neuron, Probability
from lightning_fv.targets import resolve_targets, stack_objectives


class Odd(nn.Module):
    """Layers that trap: one that runs twice, one that never runs, one that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.relu = nn.ReLU()
        self.aux = nn.Conv2d(3, 4, 1)
        self.gru = nn.GRU(4, 4)
        self.Conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.Conv(self.relu(self.conv(x))))
        return self.gru(x.mean((2, 3)))[0]


NAMES = ("pizza", "Pizza", "drake", "drake", "../../etc/passwd", "<script>alert(1)</script>", "x" * 300, "7 up", "a,b")


@pytest.fixture
def network() -> VisionNetwork:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("body", nn.Conv2d(3, 6, 3, stride=2))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flat", nn.Flatten())
    module.add_module("head", nn.Linear(6, len(NAMES)))
    return VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33), categories=NAMES)


@pytest.mark.parametrize(
    ("text", "objectives"),
    [
        ("logits:3", [Logit(3)]),
        ("logits:0-2", [Logit(0), Logit(1), Logit(2)]),
        ("logits:7 up", [Logit(7)]),
        ("logits:a,b", [Logit(8)]),
        ("probability:PIZZA+logits:1", None),
        ("probability:6", [Probability(6)]),
        ("body:1,4", [Channel("body", 1), Channel("body", 4)]),
        ("body", [Layer("body")]),
        ("body:2@9,15", [Neuron("body", 2, 9, 15)]),
        ("head:2", [Channel("head", 2)]),
        (["logits:2", "body:0-5"], [Logit(2), *(Channel("body", i) for i in range(6))]),
        ("body:last", [Channel("body", 5)]),
        ("logits:brambling|pizza", [Logit(0)]),
        ("probability:brambling | 7 up|pizza", [Probability(7)]),
        ("logits:all", [Logit(i) for i in range(9)]),
    ],
)
def test_what_is_written_is_what_is_maximised(
    network: VisionNetwork, text: str, objectives: list[object] | None
) -> None:
    if objectives is None:
        with pytest.raises(TargetError, match=r"2 classes are called 'PIZZA'; give an index: 0, 1"):
            resolve_targets(text, network)
    else:
        assert [target.objective for target in resolve_targets(text, network)] == objectives


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("logits:pizzza", TargetError, r"did you mean Pizza|did you mean pizza"),
        ("logits:drake", TargetError, "2 classes are called 'drake'; give an index: 2, 3"),
        ("logits:9", TargetError, "units 0 to 8"),
        ("logits:5-2", TargetError, "write 2-5"),
        ("logits:-1", TargetError, "units 0 to 8"),
        ("bodi:1", LayerNotFoundError, "did you mean body"),
        ("body:6", TargetError, "units 0 to 5"),
        ("body:blue", TargetError, "units 0 to 5"),
        ("body:1@10,0", TargetError, "rows 0 to 9 and columns 0 to 15"),
        ("head:1@0,0", TargetError, "has no places"),
        ("body:1@a,b", TargetError, "two whole numbers"),
        ("body:", TargetError, "cannot read"),
        (":3", TargetError, "cannot read"),
        ("", TargetError, "cannot read"),
        ([], TargetError, "no targets"),
        ("probability", TargetError, "names no class"),
    ],
)
def test_what_does_not_exist_is_said(network: VisionNetwork, text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        resolve_targets(text, network)


def test_layers_that_trap() -> None:
    odd = VisionNetwork(Odd(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33))
    with pytest.raises(CaptureError, match=r"relu' runs 2 times; say which: relu#0 to relu#1"):
        resolve_targets("relu:1", odd)
    with pytest.raises(CaptureError, match=r"relu runs 2 times, #0 to #1"):
        resolve_targets("relu#2:1", odd)
    with pytest.raises(CaptureError, match="aux' did not run"):
        resolve_targets("aux:1", odd)
    with pytest.raises(CaptureError, match="gru' gives no single tensor"):
        resolve_targets("gru:1", odd)
    assert resolve_targets("relu#1:3", odd)[0].text == "relu#1:3"


def test_name_and_index_are_one_target(network: VisionNetwork) -> None:
    (one,) = resolve_targets("logits:7+logits:7 up", network)
    assert (one.text, one.unit) == ("logits:7 up", 7)


def test_ids_are_unique_and_safe_for_every_file_system(network: VisionNetwork) -> None:
    odd = VisionNetwork(Odd(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33))
    targets = resolve_targets("logits:all+probability:4+body:0-5+body+body:1@0,1+body:1@1,0", network)
    targets += resolve_targets("conv:0+Conv:0+relu#0:1+relu#1:1", odd)
    targets += resolve_targets(Logit(1) - 0.5 * Channel("body", 3), network)
    ids = [target.id for target in targets]
    assert len({name.lower() for name in ids}) == len(ids)
    for name in ids:
        assert set(name) <= set(string.ascii_letters + string.digits + "._-")
        assert len(name) < 200
        assert name[0] not in ".-"
        assert name.split(".")[0].lower() not in {"con", "aux", "nul", "prn"}
    assert resolve_targets("logits:0", network)[0].id == "logits-0000-pizza"


def test_tags_group_by_layer(network: VisionNetwork) -> None:
    tags = [target.tag for target in resolve_targets("logits:7+body:3+body:3@1,2+body", network)]
    assert tags == ["logits/7 up", "body/3", "body/3@1,2", "body/all"]


def test_stacked_objectives_are_the_single_ones(network: VisionNetwork) -> None:
    """A batch's gathered objective gives each picture what its own target's gives."""
    targets = resolve_targets("logits:2+body:3+logits:5+body:1@2,3+probability:1+body:4@2,3+body+body:0", network)
    images = torch.rand(len(targets), 3, 21, 33)
    activations = network.capture(images, ["body", "logits"])
    together = torch.full((len(targets),), float("nan"))
    groups = stack_objectives(targets)
    assert len(groups) == 5
    for rows, objective in groups:
        together[rows] = objective({k: v[rows] for k, v in activations.items()}, images[rows])
    for row, target in enumerate(targets):
        alone = target.objective({k: v[row : row + 1] for k, v in activations.items()}, images[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-6)
