"""Shifts at the same size, against rolled and filled pictures."""

from typing import Any

import numpy as np
import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomTranslate
from tests.helpers import smooth_photos


def test_to_the_right_and_down_and_black_where_it_was() -> None:
    """Lucent's jitter(4): 0 to 3 px."""
    made, images = RandomTranslate(0.0, 3 / 224, "black"), smooth_photos(12, 10)
    for x, y in ((0, 0), (3, 0), (1, 3)):
        seen = made(images, torch.tensor([[(x + 0.5) / 4, (y + 0.5) / 4]]).expand(2, 2))
        expected = np.zeros((2, 3, 12, 10), dtype=np.float32)
        expected[..., y:, x:] = images[..., : 12 - y, : 10 - x]
        np.testing.assert_allclose(seen.numpy(), expected, atol=1e-4)


def test_both_ways_with_reflection() -> None:
    """Captum's RandomSpatialJitter(3): a window at 0 to 5 of a picture padded by 3."""
    made, images = RandomTranslate(-3 / 224, 2 / 224), smooth_photos(12, 10)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), "reflect")
    shifts = []
    for number in range(6):
        seen = made(images, torch.tensor([[(number + 0.5) / 6, 0.51]]).expand(2, 2))  # 0.51: three of six, no shift
        inset = 3 - (number - 3)
        shifts.append(number - 3)
        np.testing.assert_allclose(seen.numpy(), padded[..., 3:15, inset : inset + 10], atol=1e-4)
    assert shifts == [-3, -2, -1, 0, 1, 2]


@pytest.mark.parametrize("wrong", [(0.2, 0.1), (float("nan"), 0.1), (0.0, float("inf"))])
def test_shifts_that_are_none(wrong: Any) -> None:
    with pytest.raises(UsageError, match="RandomTranslate needs finite smallest <= largest"):
        RandomTranslate(*wrong)
