import gc
import weakref
from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_fv.errors import CaptureError, FeatureVisualizationError, LayerNotFoundError
from lightning_fv.networks.capture import LOGITS, LayerInfo, capture, probe
from tests.helpers import TinyNet, noise


class Residual(nn.Module):
    """Adds its input in place, as torchvision's ResNets do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        out += x
        return out


class Twice(nn.Module):
    """One relu that runs two times, one module that never does, one that gives two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.between = nn.Conv2d(3, 4, 3)
        self.spare = nn.Conv2d(3, 3, 1)
        self.pair = Pair()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.pair(self.relu(self.between(self.relu(x))))
        return first + second


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, -2 * x


class Nested(nn.Module):
    """Looks inside another network in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = TinyNet().eval()
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        seen = capture(self.inner, x, ["conv1"])["conv1"]
        return self.last(seen)


@pytest.fixture
def pictures(device: torch.device) -> Tensor:
    return noise(2, 3, 11, 7).to(device)


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


@pytest.mark.parametrize("layers", [["bn", "conv2"], ["bn", LOGITS], ["conv1", "bn", "relu"], ["bn"]])
def test_layers_are_seen_before_the_next_one_changes_them(
    layers: list[str], tiny_network: TinyNet, pictures: Tensor
) -> None:
    conv1 = tiny_network.conv1(pictures)
    bn = tiny_network.bn(conv1)
    relu = bn.clamp_min(0)
    conv2 = tiny_network.conv2(relu)
    expected = {"conv1": conv1, "bn": bn, "relu": relu, "conv2": conv2, LOGITS: conv2.mean((2, 3))}
    found = capture(tiny_network, pictures, layers)
    assert set(found) == set(layers)
    for layer in layers:
        torch.testing.assert_close(found[layer], expected[layer])
    assert bn.min() < 0  # else the relu in place would change nothing


def test_an_addition_in_place_does_not_change_what_was_seen(pictures: Tensor) -> None:
    network = Residual().to(pictures.device)
    found = capture(network, pictures, ["conv", LOGITS])
    torch.testing.assert_close(found["conv"], network.conv(pictures))
    torch.testing.assert_close(found[LOGITS], network.conv(pictures) + pictures)


def test_what_is_seen_can_be_differentiated(tiny_network: TinyNet, pictures: Tensor) -> None:
    pictures.requires_grad_()
    found = capture(tiny_network, pictures, ["bn", "conv2"])
    (got,) = torch.autograd.grad(found["bn"].square().sum() + found["conv2"].sum(), pictures)
    bn = tiny_network.bn(tiny_network.conv1(pictures))
    (expected,) = torch.autograd.grad(bn.square().sum() + tiny_network.conv2(bn.relu()).sum(), pictures)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("layers", "runs"),
    [(["relu"], []), (["conv1", "relu"], []), (["conv2"], ["conv2"]), (["relu", LOGITS], ["conv2"]), ([], ["conv2"])],
)
def test_forward_ends_after_the_last_layer(
    layers: list[str], runs: list[str], tiny_network: TinyNet, pictures: Tensor
) -> None:
    ran = []
    tiny_network.conv2.register_forward_pre_hook(lambda module, args: ran.append("conv2"))
    assert list(capture(tiny_network, pictures, layers)) == layers
    assert ran == runs


def test_a_later_run_of_a_module_has_its_own_name(pictures: Tensor) -> None:
    network = Twice().to(pictures.device)
    first = pictures.relu()
    second = network.between(first).relu()
    found = capture(network, pictures, ["relu#1", "relu", "relu#0"])
    torch.testing.assert_close(found["relu"], first)
    torch.testing.assert_close(found["relu#0"], first)
    torch.testing.assert_close(found["relu#1"], second)
    with pytest.raises(CaptureError, match="'relu#2' did not run"):
        capture(network, pictures, ["relu#2"])


@pytest.mark.parametrize("layers", [["conv1", "conv1"], ("conv1", LOGITS), {"conv1"}, frozenset(("conv1",))])
def test_any_collection_will_do(layers: Collection[str], tiny_network: TinyNet, pictures: Tensor) -> None:
    found = capture(tiny_network, pictures, layers)
    assert set(found) == set(layers)
    torch.testing.assert_close(found["conv1"], tiny_network.conv1(pictures))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("con1", "no layer 'con1' in the network; did you mean conv1, conv2?"),
        ("CONV2#1", "no layer 'CONV2' in the network; did you mean conv2, conv1?"),
        ("zzz", "no layer 'zzz' in the network; its layers: conv1, bn, relu, conv2"),
        ("conv1.weight.x", "no layer 'conv1.weight.x' in the network; did you mean conv1"),
        ("", "no layer '' in the network; its layers: conv1, bn, relu, conv2"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(
    layer: str, message: str, tiny_network: TinyNet, pictures: Tensor
) -> None:
    with pytest.raises(LayerNotFoundError) as raised:
        capture(tiny_network, pictures, ["bn", layer])
    assert str(raised.value).startswith(message)
    assert isinstance(raised.value, FeatureVisualizationError)
    assert hooks(tiny_network) == 0


def test_a_layer_that_never_runs_is_named(pictures: Tensor) -> None:
    network = Twice().to(pictures.device)
    with pytest.raises(CaptureError, match="'spare' did not run"):
        capture(network, pictures, ["relu", "spare"])
    assert hooks(network) == 0


def test_a_layer_that_gives_no_tensor_is_named(pictures: Tensor) -> None:
    network = Twice().to(pictures.device)
    with pytest.raises(
        CaptureError, match="'pair' does not output a single tensor; choose one of its items: pair\\[0\\]"
    ):
        capture(network, pictures, ["pair"])
    with pytest.raises(CaptureError, match="'logits' does not output a single tensor; choose one of its items"):
        capture(network.pair, pictures, [LOGITS])
    assert hooks(network) == 0


@pytest.mark.parametrize("layers", [["conv1"], ["conv1", "conv2", LOGITS], [LOGITS]])
def test_no_hook_stays(layers: list[str], tiny_network: TinyNet, pictures: Tensor) -> None:
    capture(tiny_network, pictures, layers)
    assert hooks(tiny_network) == 0
    capture(tiny_network, pictures, layers)


def test_no_hook_stays_after_an_exception_in_the_forward(tiny_network: TinyNet, pictures: Tensor) -> None:
    def fail(module: nn.Module, args: Any) -> None:
        raise KeyError("the network's own")

    handle = tiny_network.conv2.register_forward_pre_hook(fail)
    with pytest.raises(KeyError, match="the network's own"):
        capture(tiny_network, pictures, ["conv1", LOGITS])
    with pytest.raises(KeyError, match="the network's own"):
        probe(tiny_network, pictures)
    handle.remove()
    assert hooks(tiny_network) == 0


def test_the_users_own_hooks_run_and_stay(tiny_network: TinyNet, pictures: Tensor) -> None:
    ran = []
    handle = tiny_network.conv1.register_forward_hook(lambda module, args, output: ran.append(output.shape))
    capture(tiny_network, pictures, ["conv1"])
    probe(tiny_network, pictures)
    assert len(ran) == 2
    assert list(tiny_network.conv1._forward_hooks) == [handle.id]


def test_a_capture_within_a_capture_ends_its_own_forward_alone(pictures: Tensor) -> None:
    network = Nested().to(pictures.device)
    found = capture(network, pictures, ["last", LOGITS])
    torch.testing.assert_close(found["last"], network.inner.conv1(pictures).relu())
    # Here the outer one is done while the inner one runs, which must not take that for its own end.
    found = capture(network, pictures, ["inner.conv1"])
    torch.testing.assert_close(found["inner.conv1"], network.inner.conv1(pictures))


def test_probe_lists_names_types_shapes_and_calls(tiny_network: TinyNet, pictures: Tensor) -> None:
    assert probe(tiny_network, pictures[:1]) == [
        LayerInfo("conv1", "Conv2d", (1, 8, 6, 4), 1, 1),
        LayerInfo("bn", "BatchNorm2d", (1, 8, 6, 4), 1, 1),
        LayerInfo("relu", "ReLU", (1, 8, 6, 4), 1, 1),
        LayerInfo("conv2", "Conv2d", (1, 5, 6, 4), 1, 1),
        LayerInfo(LOGITS, "TinyNet", (1, 5), 1, 1),
    ]
    assert hooks(tiny_network) == 0


def test_probe_tells_what_cannot_be_captured(pictures: Tensor) -> None:
    assert probe(Twice().to(pictures.device), pictures[:1]) == [
        LayerInfo("relu", "ReLU", (1, 3, 11, 7), 2, 1),
        LayerInfo("between", "Conv2d", (1, 4, 9, 5), 1, 1),
        LayerInfo("pair", "Pair", None, 1, None, {"0": (1, 4, 9, 5), "1": (1, 4, 9, 5)}),
        LayerInfo("spare", "Conv2d", None, 0),
        LayerInfo(LOGITS, "Twice", (1, 4, 9, 5), 1, 1),
    ]


def test_names_of_the_probe_can_be_captured(pictures: Tensor) -> None:
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), TinyNet().conv2.__class__(4, 2, 1)
    )
    network.to(pictures.device)
    infos = probe(network, pictures)
    found = capture(network, pictures, [info.name for info in infos])
    assert {name: tuple(x.shape) for name, x in found.items()} == {info.name: info.shape for info in infos}


@pytest.mark.parametrize("layers", [["conv1"], ["conv1", "conv2"], ["conv1", "logits"]])
def test_activations_are_freed_when_they_are_no_longer_needed(layers: list[str]) -> None:
    """Not at the next collection of garbage, which comes after many batches: the memory of a GPU would be full of them."""
    gc.collect()
    gc.disable()
    try:
        found = capture(TinyNet(), noise(2, 3, 24, 20), layers)
        alive = [weakref.ref(activation) for activation in found.values()]
        del found
        assert [reference() is None for reference in alive] == [True] * len(layers)
    finally:
        gc.enable()
