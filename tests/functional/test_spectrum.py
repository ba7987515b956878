import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv.functional import (
    blur_transfer,
    frequencies,
    resize_spectrum,
    spectrum_to_image,
    spectrum_weights,
)
from tests.helpers import fourier_series, noise, pixel_places

SIZES = [(37, 29), (36, 28), (36, 29), (37, 28), (1, 5), (5, 1), (2, 2)]


def as_complex(coefficients: Tensor) -> np.ndarray:
    return torch.view_as_complex(coefficients.double()).numpy()


def masked_coefficients(height: int, width: int, seed: int = 0) -> Tensor:
    """Random coefficients of three colours, zero where `spectrum_weights` masks them."""
    mask = spectrum_weights(height, width) > 0
    return noise(3, height, width // 2 + 1, 2, seed=seed, dtype=torch.float64) * mask[..., None]


@pytest.mark.parametrize("size", SIZES)
def test_frequencies_are_those_of_numpy(size: tuple[int, int]) -> None:
    side = max(size)
    expected = side * np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
    np.testing.assert_allclose(frequencies(*size, torch.float64).numpy(), expected, rtol=1e-12)


def test_frequencies_are_isotropic_in_pixels() -> None:
    """A wave of 4 pixels has the same frequency along the long and along the short side."""
    f = frequencies(40, 20)
    assert f[10, 0] == f[0, 5] == 10


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_weights_fall_as_a_power_and_leave_out_nyquist(decay: float) -> None:
    weights = spectrum_weights(12, 9, decay, torch.float64).numpy()
    f = 12 * np.hypot(np.fft.fftfreq(12)[:, None], np.fft.rfftfreq(9)[None])
    expected = np.maximum(f, 1) ** -decay
    expected[6] = 0  # 12 rows: row 6 is the Nyquist frequency; 9 columns have none
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_weights_are_zero_exactly_at_nyquist_of_even_sides(size: tuple[int, int]) -> None:
    zero = spectrum_weights(*size) == 0
    expected = torch.zeros_like(zero)
    if size[0] % 2 == 0:
        expected[size[0] // 2] = True
    if size[1] % 2 == 0:
        expected[:, size[1] // 2] = True
    assert torch.equal(zero, expected)


@pytest.mark.parametrize("size", SIZES)
def test_picture_is_the_fourier_series(size: tuple[int, int], device: torch.device) -> None:
    coefficients, weights = masked_coefficients(*size), spectrum_weights(*size, dtype=torch.float64)
    images = spectrum_to_image(coefficients.to(device), weights.to(device), size[1])
    spectrum = as_complex(coefficients * weights[..., None])
    expected = fourier_series(spectrum, pixel_places(size[0]), pixel_places(size[1]))
    assert images.shape == (3, *size)
    np.testing.assert_allclose(images.cpu().numpy(), expected, atol=1e-10)


def test_picture_is_the_inverse_of_numpys_transform() -> None:
    picture = noise(2, 3, 37, 29, seed=1, dtype=torch.float64)
    spectrum = np.fft.rfft2(picture.numpy(), norm="forward")
    coefficients = torch.view_as_real(torch.from_numpy(spectrum))
    again = spectrum_to_image(coefficients, torch.ones(37, 15, dtype=torch.float64), 29)
    torch.testing.assert_close(again, picture, atol=1e-12, rtol=0)


def test_weights_for_each_part_do_the_same() -> None:
    coefficients, weights = masked_coefficients(7, 6), spectrum_weights(7, 6, dtype=torch.float64)
    both = spectrum_to_image(coefficients, weights[..., None].expand(-1, -1, 2).contiguous(), 6)
    torch.testing.assert_close(both, spectrum_to_image(coefficients, weights, 6))


@pytest.mark.parametrize("size", [(8, 8), (37, 29), (64, 50), (101, 7)])
def test_amplitude_of_a_wave_does_not_depend_on_the_size(size: tuple[int, int]) -> None:
    coefficients = torch.zeros(size[0], size[1] // 2 + 1, 2, dtype=torch.float64)
    coefficients[2, 1, 0] = 0.5  # with its conjugate: a cosine of amplitude 1
    images = spectrum_to_image(coefficients, torch.ones(coefficients.shape[:2], dtype=torch.float64), size[1])
    y, x = pixel_places(size[0]), pixel_places(size[1])
    np.testing.assert_allclose(images.numpy(), np.cos(2 * np.pi * (2 * y[:, None] + x[None])), atol=1e-12)


@pytest.mark.parametrize("old", [(8, 6), (9, 7), (9, 6), (8, 7), (2, 3), (1, 1)])
@pytest.mark.parametrize("times", [2, 3])
def test_growth_by_a_multiple_keeps_the_shared_points(old: tuple[int, int], times: int) -> None:
    coefficients = masked_coefficients(*old)
    new = (old[0] * times, old[1] * times)
    ones = torch.ones(1, 1, dtype=torch.float64)
    before = spectrum_to_image(coefficients, ones, old[1])
    after = spectrum_to_image(resize_spectrum(coefficients, old[1], new), ones, new[1])
    torch.testing.assert_close(after[..., ::times, ::times], before, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((8, 8), (12, 10)),  # even -> even
        ((9, 7), (12, 10)),  # odd -> even
        ((8, 6), (13, 9)),  # even -> odd
        ((9, 7), (11, 13)),  # odd -> odd
        ((8, 7), (8, 12)),  # one side alone
        ((37, 29), (41, 32)),
        ((8, 8), (9, 9)),  # the Nyquist row turns into an ordinary one
    ],
)
def test_growth_keeps_the_series(old: tuple[int, int], new: tuple[int, int]) -> None:
    coefficients = masked_coefficients(*old)
    grown = spectrum_to_image(resize_spectrum(coefficients, old[1], new), torch.ones(1, 1, dtype=torch.float64), new[1])
    expected = fourier_series(as_complex(coefficients), pixel_places(new[0]), pixel_places(new[1]))
    np.testing.assert_allclose(grown.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("old", "small"), [((12, 10), (8, 6)), ((13, 9), (8, 6)), ((12, 10), (7, 5)), ((9, 9), (4, 9))]
)
def test_shrinking_then_growing_keeps_low_frequencies_and_drops_the_rest(
    old: tuple[int, int], small: tuple[int, int]
) -> None:
    coefficients = masked_coefficients(*old)
    again = resize_spectrum(resize_spectrum(coefficients, old[1], small), small[1], old)
    ky = np.abs(np.round(np.fft.fftfreq(old[0]) * old[0]))[:, None]
    kx = np.arange(old[1] // 2 + 1)[None]
    keeps = torch.from_numpy((ky < small[0] / 2) & (kx < small[1] / 2))
    assert keeps.any()
    assert not keeps.all()
    assert torch.equal(again, coefficients * keeps[..., None])


def test_same_size_leaves_everything_but_nyquist() -> None:
    coefficients = masked_coefficients(8, 7)
    same = resize_spectrum(coefficients, 7, (8, 7))
    assert torch.equal(same, coefficients)
    assert same.data_ptr() != coefficients.data_ptr()


def test_fill_stands_where_nothing_was() -> None:
    ones = torch.ones(5, 3, 2)
    grown = resize_spectrum(ones, 5, (9, 8), fill=7.0)
    assert grown.shape == (9, 5, 2)
    assert (grown == 1).sum() == ones.numel()
    assert (grown == 7).sum() == grown.numel() - ones.numel()


@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0])
def test_blur_transfer_is_the_gaussians_transform(sigma: float) -> None:
    """A wave of k cycles over n pixels keeps exp(-2 (pi sigma k / n)^2) of its amplitude, along either side."""
    transfer = blur_transfer(24, 15, sigma, torch.float64)
    assert transfer.shape == (24, 8)
    assert transfer[0, 0] == 1
    assert transfer[3, 0].item() == pytest.approx(math.exp(-2 * (math.pi * sigma * 3 / 24) ** 2))
    assert transfer[-3, 0].item() == pytest.approx(math.exp(-2 * (math.pi * sigma * 3 / 24) ** 2))
    assert transfer[0, 2].item() == pytest.approx(math.exp(-2 * (math.pi * sigma * 2 / 15) ** 2))
    assert (transfer > 0).all()


def test_gradients(device: torch.device) -> None:
    weights = spectrum_weights(5, 4, dtype=torch.float64).to(device)
    coefficients = noise(2, 5, 3, 2, dtype=torch.float64).to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: spectrum_to_image(c, weights, 4), coefficients)
    assert torch.autograd.gradcheck(lambda c: resize_spectrum(c, 4, (8, 7)), coefficients)
    assert torch.autograd.gradcheck(lambda c: resize_spectrum(c, 4, (3, 3)), coefficients)
