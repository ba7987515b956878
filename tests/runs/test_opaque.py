"""Transparent images over mid-grey."""

import numpy as np
from PIL import Image

from lightning_fv.runs.opaque import opaque_rgb


def test_transparent_pixels_are_grey_and_opaque_ones_as_they_are() -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = 255, 0, 51
    shown = np.asarray(opaque_rgb(Image.fromarray(pixels)))
    assert shown.tolist() == [[[200, 0, 0], [128, 128, 128], [142, 102, 102]]]  # a fifth of the colour


def test_other_images_are_converted() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(np.asarray(opaque_rgb(Image.fromarray(pixels))), pixels)
    assert opaque_rgb(Image.new("L", (2, 1), 7)).getpixel((1, 0)) == (7, 7, 7)
