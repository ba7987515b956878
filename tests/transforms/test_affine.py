"""Affine maps of single pictures, against NumPy's sampling of one pixel at a time."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightning_fv.errors import UsageError
from lightning_fv.transforms.affine import Outside, about_centre, check_outside, chosen, shifted
from tests.helpers import smooth_photos

PADS = {"reflection": ("reflect", {}), "border": ("edge", {}), "grey": ("constant", {"constant_values": 0.5})}
PADS["black"] = ("constant", {"constant_values": 0.0})


def sampled(
    picture: NDArray[np.float64], ys: NDArray[np.float64], xs: NDArray[np.float64], mode: str
) -> NDArray[np.float64]:
    """A picture (C, H, W) at places ys, xs (H', W') in pixels: the mean of the four pixels around each, weighted by nearness."""
    margin = 12
    name, values = PADS[mode]
    padded = np.pad(picture, ((0, 0), (margin, margin), (margin, margin)), name, **values)  # type: ignore[call-overload]
    total = np.zeros((len(picture), *ys.shape))
    for row in (np.floor(ys), np.floor(ys) + 1):
        for column in (np.floor(xs), np.floor(xs) + 1):
            weight = (1 - np.abs(ys - row)) * (1 - np.abs(xs - column))
            total += weight * padded[:, row.astype(int) + margin, column.astype(int) + margin]
    return total


@pytest.mark.parametrize("mode", list(PADS))
def test_each_point_goes_where_the_matrix_says(mode: Outside) -> None:
    images = smooth_photos(14, 11)
    matrices = torch.tensor([[[1.1, 0.2], [-0.1, 0.8]], [[0.7, -0.5], [0.5, 0.7]]])
    window = (16, 9)
    moved = about_centre(images, matrices, window, mode)
    y, x = np.meshgrid(np.arange(16) - 7.5, np.arange(9) - 4.0, indexing="ij")
    for image, matrix, got in zip(images, matrices, moved, strict=True):
        back = np.linalg.inv(matrix.double().numpy())
        expected = sampled(
            image.double().numpy(), back[1, 0] * x + back[1, 1] * y + 6.5, back[0, 0] * x + back[0, 1] * y + 5.0, mode
        )
        np.testing.assert_allclose(got.numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("mode", list(PADS))
def test_a_shift_by_whole_pixels_is_a_slice(mode: Outside) -> None:
    images = smooth_photos(14, 11)
    moved = shifted(images, torch.tensor([[3.0, -2.0], [-4.0, 5.0]]), (13, 12), mode)
    name, values = PADS[mode]
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)), name, **values)  # type: ignore[call-overload]
    np.testing.assert_allclose(moved[0].numpy(), padded[0, :, 10:23, 5:17], atol=1e-4)
    np.testing.assert_allclose(moved[1].numpy(), padded[1, :, 3:16, 12:24], atol=1e-4)


def test_all_choices_are_equally_likely_up_to_the_largest_uniform() -> None:
    uniforms = torch.tensor([0.0, 0.249, 0.25, 0.5, 0.999, 1 - 2**-24])
    assert chosen((1.0, 2.0, 3.0, 4.0), uniforms).tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    many = tuple(float(number) for number in range(26))
    drawn = chosen(many, torch.arange(2600) / 2600 + 1e-5)
    assert torch.bincount(drawn.long()).tolist() == [100] * 26
    assert chosen(many, torch.tensor([math.nextafter(1.0, 0.0)])).tolist() == [25.0]  # 1 in float32


def test_other_modes_are_refused() -> None:
    with pytest.raises(UsageError, match="Pad needs padding_mode reflection, border, grey or black, not 'white'"):
        check_outside("Pad", "white")
