"""Resizing to the network's size."""

import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.functional import resize_images
from lightning_fv.transforms import Resize
from tests.helpers import smooth_photos


@pytest.mark.parametrize(("side", "unit", "size"), [(1.0, 64, (64, 50)), (0.5, 40, (20, 16)), (1.0, 37, (37, 29))])
def test_the_longer_side_is_a_fraction_of_the_training_size(side: float, unit: int, size: tuple[int, int]) -> None:
    made, images = Resize(side), smooth_photos(37, 29)
    made.unit = unit
    assert made.draws == 0
    seen = made(images, torch.zeros(2, 0))
    assert seen.shape == (2, 3, *size)
    assert torch.equal(seen, resize_images(images, size))


def test_sizes_that_are_none() -> None:
    for side in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="Resize needs a finite size above 0"):
            Resize(side)
    for side in (1e-4, 100.0):
        with pytest.raises(UsageError, match="give a size from 1 to 16384 px"):
            Resize(side)(smooth_photos(37, 29), torch.zeros(2, 0))
