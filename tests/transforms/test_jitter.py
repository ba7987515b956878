"""The window at a random place, against slices."""

import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomJitter
from tests.helpers import smooth_photos


def test_it_is_a_slice_at_every_place_and_all_are_equally_likely() -> None:
    made, images = RandomJitter(4 / 224), smooth_photos(20, 15)[:1]
    draws = (torch.arange(25) + 0.5) / 25
    grid = torch.cartesian_prod(draws, draws)
    seen = made(images.expand(len(grid), -1, -1, -1), grid)
    assert seen.shape == (625, 3, 16, 11)
    places = [[images[0, :, y : y + 16, x : x + 11] for x in range(5)] for y in range(5)]
    for number, ((x, y), got) in enumerate(zip(grid.tolist(), seen, strict=True)):
        torch.testing.assert_close(got, places[int(5 * y)][int(5 * x)], atol=1e-4, rtol=0, msg=f"draw {number}")


def test_the_largest_uniform_is_the_last_place() -> None:
    images = smooth_photos(20, 15)
    seen = RandomJitter(8 / 224)(images, torch.full((2, 2), 1 - 2**-24))
    torch.testing.assert_close(seen, images[..., 8:, 8:], atol=1e-4, rtol=0)


def test_crops_that_are_none() -> None:
    for crop in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="RandomJitter needs a finite crop of at least 0"):
            RandomJitter(crop)
    with pytest.raises(UsageError, match="RandomJitter crops 15 px from pictures of 20x15 px"):
        RandomJitter(15 / 224)(smooth_photos(20, 15), torch.zeros(2, 2))
