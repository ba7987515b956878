"""The price of opacity: a share of what is reached."""

import pytest
import torch

from lightning_fv import load_network, render
from lightning_fv.errors import UsageError
from lightning_fv.objectives import OPACITY, REACHED, Logit, Opacity
from tests.helpers import noise


def test_it_is_the_mean_opacity_times_a_positive_objective() -> None:
    opacity = torch.stack([torch.full((1, 7, 5), 0.25), torch.zeros(1, 7, 5), torch.ones(1, 7, 5), torch.ones(1, 7, 5)])
    known = {OPACITY: opacity, REACHED: torch.tensor([8.0, 8.0, 3.0, -3.0])}
    assert Opacity(0.5)(known, torch.empty(4, 3, 7, 5)).tolist() == [1.0, 0.0, 1.5, 0.0]
    assert torch.equal(Opacity().measure(opacity), torch.tensor([0.25, 0.0, 1.0, 1.0]))


def test_its_gradient_is_that_of_the_opacity_alone() -> None:
    opacity = noise(2, 1, 3, 4, dtype=torch.float64).sigmoid().requires_grad_()
    reached = torch.tensor([2.0, 5.0], dtype=torch.float64, requires_grad=True)
    images = torch.empty(2, 3, 3, 4)
    assert torch.autograd.gradcheck(lambda x: Opacity(0.7)({OPACITY: x, REACHED: reached}, images), opacity)
    assert not torch.autograd.grad(
        Opacity()({OPACITY: opacity, REACHED: reached}, images).sum(), reached, allow_unused=True
    )[0]


def test_opaque_pictures_and_targets_have_none() -> None:
    with pytest.raises(UsageError, match="Opacity needs transparent pictures"):
        render("demo", "logits:0", penalties=[Opacity()], steps=1, progress=False)
    with pytest.raises(UsageError, match=r"Opacity is a penalty of pictures by .*Alpha, and no part of a target"):
        render(load_network("demo"), Logit(1) - Opacity(), steps=1, progress=False)
