"""The gradient of a convolution's input: that of torch, computed in another way."""

import itertools

import pytest
import torch
from torch import nn

from lightning_fv.networks.conv_gradient import input_gradient

OPTIONS = [
    dict(zip(("kernel_size", "stride", "padding", "dilation"), values, strict=True))
    for values in itertools.product((1, 2, 3, (5, 3), 7), (1, 2, 3, (2, 1)), (0, 1, 3, (2, 1)), (1, 2))
]


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(3, 8, 1), (6, 5, 1), (6, 4, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_that_of_torch(inputs: int, outputs: int, groups: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    checked = 0
    for options, size in itertools.product(OPTIONS, ((14, 15), (17, 16))):
        layer = nn.Conv2d(inputs, outputs, groups=groups, dtype=torch.float64, **options)
        x = torch.rand(2, inputs, *size, dtype=torch.float64, requires_grad=True)
        y = layer(x)
        grad = torch.rand_like(y).contiguous(memory_format=layout)
        (expected,) = torch.autograd.grad(y, x, grad)
        found = input_gradient(layer, layer.weight.detach())(grad, x.shape)
        torch.testing.assert_close(found, expected, msg=str(options))
        checked += 1
    assert checked > 300


def test_it_has_a_gradient_itself() -> None:
    for options in (
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 3},
        {"kernel_size": 5, "stride": 2, "padding": 2},
    ):
        layer = nn.Conv2d(3, 4, dtype=torch.float64, **options)  # type: ignore[arg-type]
        gradient = input_gradient(layer, layer.weight.detach())
        shape = torch.Size((1, 3, 8, 7))
        grad = torch.rand_like(layer(torch.rand(shape, dtype=torch.float64))).requires_grad_()
        assert torch.autograd.gradcheck(lambda g, f=gradient, s=shape: f(g, s), grad)


@pytest.mark.parametrize(
    ("options", "general"),
    [({"kernel_size": 1}, False), ({"kernel_size": 3}, False), ({"kernel_size": 7, "stride": 2, "padding": 3}, False),
     ({"kernel_size": 3, "groups": 3}, True), ({"kernel_size": 3, "stride": 2, "dilation": 2}, True)],
)  # fmt: skip
def test_what_is_slow_in_torch_is_not_asked_of_it(options: dict[str, int], general: bool) -> None:
    layer = nn.Conv2d(3, 6, **options)
    x = torch.rand(1, 3, 9, 9)
    gradient = input_gradient(layer, layer.weight.detach())
    grad = torch.rand_like(layer(x))
    with torch.profiler.profile() as profile:
        gradient(grad.detach(), x.shape)
    assert any("convolution_backward" in event.key for event in profile.key_averages()) == general
