"""The crop, against planes, of which every enlarged part is a plane too."""

import pytest
import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomCrop
from tests.helpers import smooth_photos


def plane(height: int, width: int) -> Tensor:
    """Rises by 1 a row and by 100 a column, (1, 3, height, width)."""
    rows = torch.arange(height).view(-1, 1) + 100.0 * torch.arange(width)
    return rows.expand(1, 3, -1, -1)


@pytest.mark.parametrize("side", [1.0, 0.75, 0.5, 0.1])
@pytest.mark.parametrize(("y", "x"), [(0.0, 0.0), (1.0, 1.0), (0.25, 0.8)])
def test_a_part_at_its_place(side: float, y: float, x: float) -> None:
    cropped = RandomCrop(side, side)(plane(33, 21), torch.tensor([[0.3, y, x]]))
    top, left = y * (1 - side) * 32, x * (1 - side) * 20
    expected = (top + side * torch.arange(33)).view(-1, 1) + 100 * (left + side * torch.arange(21))
    torch.testing.assert_close(cropped, expected.expand(1, 3, -1, -1), rtol=1e-4, atol=0.05)


def test_sides_lie_between_both_ends() -> None:
    draws = torch.tensor([[0.0, 0.0, 0.0], [1 - 2**-24, 0.0, 0.0], [0.5, 0.0, 0.0]])
    cropped = RandomCrop(0.2, 0.6)(plane(11, 11).expand(3, -1, -1, -1), draws)
    torch.testing.assert_close(cropped[:, 0, -1, 0], torch.tensor([2.0, 6.0, 4.0]), rtol=1e-3, atol=1e-3)


def test_the_whole_picture_is_itself_and_gradients_pass() -> None:
    photos = smooth_photos(20, 31).requires_grad_()
    whole = RandomCrop(1.0, 1.0)(photos, torch.rand(2, 3))
    torch.testing.assert_close(whole, photos, rtol=0, atol=1e-4)
    (gradient,) = torch.autograd.grad(RandomCrop(0.5, 0.5)(photos, torch.zeros(2, 3)).sum(), photos)
    assert bool((gradient[:, :, :9, :14] > 0).all())
    assert not bool(gradient[:, :, 11:].any())


@pytest.mark.parametrize(("smallest", "largest"), [(0, 1), (0.5, 0.4), (0.5, 1.1), (float("nan"), 1)])
def test_sides_that_are_none(smallest: float, largest: float) -> None:
    with pytest.raises(UsageError, match="0 < smallest <= largest <= 1"):
        RandomCrop(smallest, largest)
