"""The random blur, against SciPy's."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomBlur
from tests.helpers import noise


def test_each_picture_has_its_own_width() -> None:
    images = noise(3, 3, 37, 29).sigmoid()
    blurred = RandomBlur(1 / 224, 3 / 224)(images, torch.tensor([[0.0], [0.5], [1 - 2**-24]]))
    for image, got, sigma in zip(images.numpy(), blurred.numpy(), (1.0, 2.0, 3.0), strict=True):
        expected = gaussian_filter(image, (0, sigma, sigma), mode="nearest", radius=(0, 9, 9))
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("wrong", [(0.0, 0.1), (0.2, 0.1), (0.1, float("inf"))])
def test_widths_that_are_none(wrong: Any) -> None:
    with pytest.raises(UsageError, match="RandomBlur needs finite 0 < smallest <= largest"):
        RandomBlur(*wrong)


def test_a_kernel_as_wide_as_the_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="RandomBlur blurs 30 px to each side, but the pictures are 37x29 px"):
        RandomBlur(10 / 224, 10 / 224)(noise(1, 3, 37, 29), torch.zeros(1, 1))
