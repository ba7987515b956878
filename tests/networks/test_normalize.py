"""Normalisation, with the layouts of its result and of its gradient."""

import pytest
import torch
from torch import Tensor

from lightning_fv.networks.normalize import normalize
from tests.helpers import noise


@pytest.fixture
def constants() -> tuple[Tensor, Tensor]:
    return torch.tensor([2.0, 3.0, 4.0]).view(1, 3, 1, 1), torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)


def test_values_and_layouts(constants: tuple[Tensor, Tensor]) -> None:
    scale, shift = constants
    images = noise(2, 3, 5, 6).requires_grad_()
    result = normalize(images, scale, shift)
    torch.testing.assert_close(result, images * scale + shift)
    assert result.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(result.sin().sum(), images)
    torch.testing.assert_close(gradient, (images * scale + shift).cos() * scale)
    assert gradient.is_contiguous()


def test_gradients_of_any_order(constants: tuple[Tensor, Tensor]) -> None:
    scale, shift = (values.double() for values in constants)
    images = noise(1, 3, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalize(x, scale, shift).sin(), images)
    assert torch.autograd.gradgradcheck(lambda x: normalize(x, scale, shift).sin(), images)


def test_under_transforms_of_torch_func(constants: tuple[Tensor, Tensor]) -> None:
    images = noise(2, 3, 5, 6)
    gradient = torch.func.grad(lambda x: normalize(x, *constants).sum())(images)
    torch.testing.assert_close(gradient, constants[0].expand_as(images))


def test_no_graph_without_gradients(constants: tuple[Tensor, Tensor]) -> None:
    assert not normalize(noise(1, 3, 2, 2), *constants).requires_grad
    assert normalize(noise(1, 3, 2, 2).to(torch.bfloat16), *constants).dtype == torch.float32
