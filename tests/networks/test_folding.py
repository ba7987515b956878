"""Convolutions that do the work of the BatchNorm behind them: the same values and gradients, wherever they are used."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_fv import VisionNetwork, load_network
from lightning_fv.errors import CaptureError
from lightning_fv.networks.folding import foldable
from lightning_fv.networks.frozen import memory_efficient_layers
from tests.helpers import TinyNet
from tests.networks.test_frozen import frozen, gradient, randomized

SIZE = (3, 64, 48)


class Elementwise(TorchDispatchMode):
    """Counts what BatchNorms do: multiply-adds forwards and products backwards."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten.addcmul.default, torch.ops.aten.mul.Tensor)
        return func(*args, **(kwargs or {}))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.detach().abs().max()))


def pairs_of(module: nn.Module) -> dict[nn.Conv2d, nn.BatchNorm2d]:
    return foldable(module, SIZE)


def same_with_pairs(make: Callable[[], nn.Module], count: int) -> None:
    """Check that so many pairs are found, and that folding them changes neither values nor gradients."""
    torch.manual_seed(0)
    module = randomized(frozen(make()))
    x = torch.rand(2, *SIZE)
    expected = gradient(module, x)
    pairs = pairs_of(module)
    assert len(pairs) == count
    with memory_efficient_layers(module, pairs):
        found = gradient(module, x)
        with torch.no_grad():
            close(module(x), expected[0])
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (TinyNet, 1),
        (torchvision.models.resnet18, 20),
        (torchvision.models.mobilenet_v3_small, 34),
        (lambda: torchvision.models.DenseNet(8, (2, 2), 8, num_classes=5), 5),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 5, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU(inplace=True)), 1),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.BatchNorm2d(4)), 0),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 5)), 0),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU()), 0),
    ],
)  # fmt: skip
def test_values_and_gradients_are_the_same(make: Callable[[], nn.Module], count: int) -> None:
    same_with_pairs(make, count)


def test_no_work_is_left_for_the_batchnorms() -> None:
    module = randomized(frozen(torchvision.models.resnet18()))
    with memory_efficient_layers(module, pairs_of(module)):
        module(torch.rand(1, *SIZE))  # folds
        with Elementwise() as elementwise:
            gradient(module, torch.rand(1, *SIZE))
    assert elementwise.count < 5


class Twice(nn.Module):
    """A network in which something else reads the output of the convolution, in a way that no module shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        before = self.conv(x)
        after = self.norm(before)
        found: Tensor = self.last(after.relu() + before)
        return found


class Wrapped(nn.Module):
    """A convolution in a container, whose output somebody may ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.conv(x))
        return found


class Pyramid(nn.Module):
    """A convolution that is used twice, each time with another BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.conv(self.first(self.conv(x)).relu()))
        return found


class Shared(Pyramid):
    """A convolution and a BatchNorm that are used twice together."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.first(self.conv(self.first(self.conv(x)).relu()))
        return found


class Refuses(Wrapped):
    """A network that cannot process noise."""

    def forward(self, x: Tensor) -> Tensor:
        if x.min() < 0:
            raise ValueError("a picture has no negative values")
        return super().forward(x)


@pytest.mark.parametrize(("make", "count"), [(Twice, 0), (Wrapped, 0), (Pyramid, 0), (Shared, 1), (Refuses, 0)])
def test_only_what_nobody_else_reads_is_folded(make: Callable[[], nn.Module], count: int) -> None:
    same_with_pairs(make, count)


def test_every_layer_of_a_network_gives_its_own_output() -> None:
    network = VisionNetwork(randomized(TinyNet()), mean=[0.5] * 3, std=[0.5] * 3, input_size=SIZE[1:])
    x = torch.rand(2, *SIZE)
    network.module.eval()
    for layers in (["conv1"], ["bn"], ["relu"], ["logits"], ["conv1", "bn", "relu", "conv2", "logits"]):
        expected = network.activations(x, layers)
        with network.frozen():
            found = network.activations(x, layers)
        for layer in layers:
            close(found[layer], expected[layer])


def test_hooks_of_any_kind_see_what_they_saw() -> None:
    module = randomized(frozen(TinyNet()))
    pairs, x = pairs_of(module), torch.rand(2, *SIZE)

    def seen() -> list[Tensor]:
        found: list[Tensor] = []
        handles = [
            module.bn.register_forward_pre_hook(lambda layer, args: found.append(args[0].clone())),
            module.conv1.register_full_backward_hook(lambda layer, grads, outputs: found.append(outputs[0])),
            module.bn.register_full_backward_hook(lambda layer, grads, outputs: found.extend((grads[0], outputs[0]))),
        ]
        for used in ([0], [1], [2], [0, 1, 2]):
            kept = [handle for number, handle in enumerate(handles) if number in used]
            for handle in handles:
                if handle not in kept:
                    handle.remove()
            found.append(gradient(module, x)[1])
        return found

    module.relu.inplace = False  # which full backward hooks do not allow
    expected = seen()
    with memory_efficient_layers(module, pairs):
        found = seen()
    assert len(found) == len(expected) > 4
    for one, other in zip(found, expected, strict=True):
        close(one, other)


def test_double_backward_and_maps_without_a_batch() -> None:
    module = frozen(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh()))
    pairs = foldable(module, (2, 6, 6))
    assert pairs
    module.double()
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    batch = torch.rand(4, 2, 6, 6, dtype=torch.float64)
    per_picture = torch.func.vmap(torch.func.grad(lambda one: module(one[None]).sin().sum()))
    expected = per_picture(batch)
    with memory_efficient_layers(module, pairs):
        assert torch.autograd.gradcheck(module, x)
        assert torch.autograd.gradgradcheck(module, x)
        torch.testing.assert_close(per_picture(batch), expected)


def test_nothing_is_folded_under_autocast() -> None:
    """The weights would be rounded once more; the bits are those of layers that do their own work."""
    module = randomized(frozen(TinyNet()))
    pairs, x = pairs_of(module), torch.rand(2, *SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        with memory_efficient_layers(module):
            expected = gradient(module, x)
        with memory_efficient_layers(module, pairs):
            found = gradient(module, x)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_other_weights_are_folded_anew() -> None:
    network = VisionNetwork(randomized(TinyNet()), mean=[0.5] * 3, std=[0.5] * 3, input_size=SIZE[1:])
    x = torch.rand(2, *SIZE)
    with network.frozen():
        before = network(x)
        copied = copy.deepcopy(network.module)
        for parameter in copied.parameters():
            parameter.data.zero_()
        assert not copied(x).any()
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter *= 2
        network.module.eval()
        expected = network(x)
        with network.frozen():
            close(network(x), expected)
    assert not torch.allclose(before, expected)


def test_a_copy_of_a_network_folds_its_own_layers() -> None:
    network = VisionNetwork(randomized(TinyNet()), mean=[0.5] * 3, std=[0.5] * 3, input_size=SIZE[1:])
    x = torch.rand(2, *SIZE)
    with network.frozen():
        expected = network(x)
    copied = copy.deepcopy(network)
    with copied.frozen():
        close(copied(x), expected)
        copied.module.conv1.weight.data.zero_()
    with network.frozen():
        close(network(x), expected)


def test_what_the_network_draws_and_counts_is_as_if_it_had_not_run() -> None:
    class Draws(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.rand(())

    network = VisionNetwork(randomized(Draws()), mean=[0.5] * 3, std=[0.5] * 3, input_size=SIZE[1:])
    state = torch.get_rng_state()
    with network.frozen():
        assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_goes_another_way_than_when_it_was_examined_is_refused() -> None:
    class Depends(TinyNet):
        way = 0

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if not self.way else self.conv2(self.bn(self.conv1(x) + 1))

    module = randomized(frozen(Depends()))
    with memory_efficient_layers(module, pairs_of(module)):
        module.way = 1
        with pytest.raises(CaptureError, match="not given the output of the convolution"):
            module(torch.rand(1, *SIZE))


def test_the_embedded_networks() -> None:
    for name, count in {"demo": 12, "demo/vit": 0}.items():
        network = load_network(name)
        with network.frozen():
            assert len(foldable(network.module, (3, 64, 64))) >= count
