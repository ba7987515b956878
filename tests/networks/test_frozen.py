"""Layers of a frozen network that keep no activations: the same values and gradients, less memory."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_fv.networks.frozen import memory_efficient_layers
from tests.helpers import TinyNet


class Casts(TorchDispatchMode):
    """Counts casts of a convolution's weight, (3, 2, 3, 3)."""

    of_weights = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default:
            self.of_weights += args[0].shape == (3, 2, 3, 3)
        return func(*args, **(kwargs or {}))


def frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def held(module: nn.Module, x: Tensor) -> int:
    """Bytes of the activations that a forward pass keeps for the backward pass."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return sum(kept.values())


def gradient(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    (found,) = torch.autograd.grad(y.sin().sum(), x)
    return y.detach(), found


def randomized(module: nn.Module) -> nn.Module:
    """With statistics and affine parameters of BatchNorm that are not 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_var, layer.weight, layer.running_mean, layer.bias):
                if tensor is not None:
                    tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return module


@pytest.mark.parametrize(
    "make",
    [
        TinyNet,
        lambda: nn.Conv2d(3, 6, 3, stride=2, padding=1, dilation=2, groups=3, bias=False),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4, affine=False), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)),
        torchvision.models.resnet18,
        torchvision.models.mobilenet_v3_small,
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_the_same(make: Callable[[], nn.Module], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    module = randomized(frozen(make())).to(memory_format=layout)
    x = torch.rand(2, 3, 64, 48).contiguous(memory_format=layout)
    expected = gradient(module, x)
    with memory_efficient_layers(module):
        found = gradient(module, x)
        with torch.no_grad():
            torch.testing.assert_close(module(x), expected[0], rtol=1e-4, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_half_of_the_memory_is_held() -> None:
    module = frozen(torchvision.models.resnet50())
    x = torch.rand(1, 3, 224, 224).requires_grad_()
    plain = held(module, x)
    with memory_efficient_layers(module):
        efficient = held(module, x)
    assert plain > 80e6
    assert efficient < 45e6


def test_double_backward() -> None:
    module = frozen(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh())).double()
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    with memory_efficient_layers(module):
        assert torch.autograd.gradcheck(module, x)
        assert torch.autograd.gradgradcheck(module, x)


def test_layers_that_need_more_are_left_alone() -> None:
    class Own(nn.Conv2d):
        pass

    module = nn.ModuleList(
        [
            frozen(Own(1, 1, 1)),
            frozen(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")),
            frozen(nn.Conv2d(1, 1, 3, padding="same")),
            frozen(nn.BatchNorm2d(1, track_running_stats=False)),
            nn.Conv2d(1, 1, 1),
            frozen(nn.BatchNorm2d(1)).train(),
        ]
    )
    with memory_efficient_layers(module):
        assert not any("forward" in vars(layer) for layer in module)


def test_everything_is_as_before_even_after_an_error() -> None:
    module = frozen(TinyNet())
    own = next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    vars(own)["forward"] = forward = lambda x: nn.Conv2d.forward(own, x) * 2
    with memory_efficient_layers(module):
        assert vars(own)["forward"] is forward
    with contextlib.suppress(ZeroDivisionError), memory_efficient_layers(module):
        raise ZeroDivisionError
    assert [layer for layer in module.modules() if "forward" in vars(layer)] == [own]


def test_a_map_without_a_batch_and_transforms_of_functions() -> None:
    module = frozen(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)))
    x = torch.rand(4, 2, 6, 6)
    per_picture = torch.func.vmap(torch.func.grad(lambda one: module(one[None]).sin().sum()))
    expected = per_picture(x)
    with memory_efficient_layers(module):
        torch.testing.assert_close(per_picture(x), expected)
        torch.testing.assert_close(module[0](x[0]), module[0](x)[0])
        with pytest.raises(ValueError, match="4D"):
            module[1](x[0])


def test_under_autocast_weights_are_cast_once() -> None:
    module = frozen(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 1, 1)))
    x = torch.rand(2, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradient(module, x)
        with memory_efficient_layers(module):
            found = gradient(module, x)
            module(x)
            with Casts() as casts:
                module(x)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2)
    assert not casts.of_weights


def test_a_copy_has_layers_of_its_own() -> None:
    module = frozen(TinyNet())
    x = torch.rand(1, 3, 37, 29)
    with memory_efficient_layers(module):
        copied = copy.deepcopy(module)
        for parameter in copied.parameters():
            parameter.data.zero_()
        assert not torch.equal(copied(x), module(x))


class Attends(nn.Module):
    """Attention with a layer after it, whose function takes the weights of both, and a linear layer without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.linear = nn.Linear(16, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(self.attention(x, x, x)[0])
        return found


def test_under_autocast_the_weights_of_attention_are_cast_once_to_the_same_bits() -> None:
    torch.manual_seed(0)
    module, x = frozen(Attends()), torch.rand(2, 5, 16)
    nn.init.normal_(module.attention.in_proj_bias)
    own = {id(parameter) for parameter in module.parameters()}
    casts: list[int] = []

    class OfWeights(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._to_copy.default and (id(args[0]) in own or id(args[0]._base) in own):
                casts.append(id(args[0]))
            return func(*args, **(kwargs or {}))

    with torch.autocast("cpu", dtype=torch.bfloat16), OfWeights():
        expected = gradient(module, x)
        assert casts
        with memory_efficient_layers(module):
            gradient(module, x)
            casts.clear()
            found = gradient(module, x)
    assert not casts
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert {id(parameter) for parameter in module.parameters()} == own
    assert expected[0].dtype == torch.bfloat16
