"""Saturated pixels, against numpy and known pictures."""

import numpy as np
import pytest
import torch

from lightning_fv.metrics import SaturatedPixels, saturated_share
from tests.metrics.measure import measure, uniform


@pytest.mark.parametrize("margin", [0.01, 0.1, 0.5])
def test_saturated_pixels_is_numpys(margin: float, device: torch.device) -> None:
    images = uniform(2, 3, 37, 29)
    x = images.numpy()
    expected = np.mean((x < margin) | (x > 1 - margin))
    assert measure(SaturatedPixels(margin), images, device=device) == pytest.approx(expected, abs=1e-6)


def test_saturated_pixels_of_known_pictures() -> None:
    assert measure(SaturatedPixels(), torch.zeros(1, 3, 5, 4)) == 1
    assert measure(SaturatedPixels(), torch.ones(1, 3, 5, 4)) == 1
    assert measure(SaturatedPixels(), torch.full((1, 3, 5, 4), 0.5)) == 0
    assert measure(SaturatedPixels(), torch.tensor([0.0, 0.5, 0.5, 1.0])) == 0.5


def test_saturated_pixels_weighs_by_pixel() -> None:
    """Over all pictures seen, so that a larger picture counts for more."""
    white, grey = torch.ones(1, 3, 2, 2), torch.full((1, 3, 6, 2), 0.5)
    assert measure(SaturatedPixels(), white, grey) == 0.25


def test_the_share_of_each_picture_is_its_own(device: torch.device) -> None:
    images = uniform(4, 3, 9, 7)
    images[1], images[2] = 0.5, 1.0
    alone = [measure(SaturatedPixels(0.1), image[None], device=device) for image in images]
    assert saturated_share(images.to(device), 0.1).tolist() == alone
    assert alone[1:3] == [0, 1]
