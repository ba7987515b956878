"""What Pixel promises beyond the contract: one number per pixel and colour, and nothing shared between pixels."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from lightning_fv.functional.color import CORRELATION
from lightning_fv.parameterizations import Pixel
from tests.helpers import generators


def test_each_pixel_has_a_number_of_its_own() -> None:
    made = Pixel()
    made.initialize((5, 4), generators([0]))
    made()[0, 1, 2, 3].backward()
    assert made.values.grad is not None
    assert made.values.grad.nonzero().tolist() == [[0, 1, 2, 3]]


def test_decorrelated_colours_are_mixed_within_a_pixel() -> None:
    made = Pixel(decorrelate=True)
    made.initialize((5, 4), generators([0]))
    made()[0, 1, 2, 3].backward()
    assert made.values.grad is not None
    assert made.values.grad.nonzero().tolist() == [[0, axis, 2, 3] for axis in range(3)]


def test_noise_has_the_asked_strength() -> None:
    made = Pixel(sd=0.2)
    made.initialize((64, 48), generators([0, 1]))
    logits = made().logit()
    torch.testing.assert_close(logits.std((1, 2, 3)), torch.full((2,), 0.2), rtol=0.03, atol=0)
    assert logits.mean().abs() < 0.01


def test_decorrelated_noise_has_the_colours_of_photos() -> None:
    """Covariance of the colours: the matrix times its transpose, by the noise's variance."""
    made = Pixel(sd=0.1, decorrelate=True)
    made.initialize((128, 128), generators([0]))
    colours = made().detach().double().logit().flatten(2)[0].numpy()
    mix = np.array(CORRELATION)
    np.testing.assert_allclose(np.cov(colours), 0.01 * mix @ mix.T, atol=0.0002)


def test_blur_is_scipys_with_mirrored_borders() -> None:
    made = Pixel(sd=1.0)
    made.initialize((37, 29), generators([0]))
    logits = made.values.detach().double().numpy()
    made.blur(1.5)
    # Kernels of the same reach: scipy's is int(truncate * sigma + 0.5) pixels, ours round(3 * sigma).
    expected = gaussian_filter(logits, 1.5, mode="mirror", axes=(2, 3), radius=round(3 * 1.5))
    np.testing.assert_allclose(made.values.detach().numpy(), expected, atol=1e-5)
