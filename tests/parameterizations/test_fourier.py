"""What Fourier promises beyond the contract: growth leaves the picture as it was, blur is exact."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lightning_fv.errors import UsageError
from lightning_fv.parameterizations import Fourier
from tests.helpers import fourier_series, generators, pixel_places


def strong(size: tuple[int, int], decorrelate: bool = True) -> Fourier:
    made = Fourier(sd=0.5, decorrelate=decorrelate)
    made.initialize(size, generators([0, 1]))
    return made


def logits_at(made: Fourier, size: tuple[int, int]) -> np.ndarray:
    """The picture before the sigmoid at the pixel centres of another size, wave by wave from the present spectrum."""
    logits = made().detach().double().logit().numpy()
    spectrum = np.fft.rfft2(logits, norm="forward")
    rows, columns = (
        pixel_places(new) + 0.5 / new - 0.5 / old for new, old in zip(size, logits.shape[-2:], strict=True)
    )
    return fourier_series(spectrum, rows, columns)


@pytest.mark.parametrize("decorrelate", [True, False])
@pytest.mark.parametrize("old", [(37, 29), (36, 28), (9, 8)])
@pytest.mark.parametrize("times", [3, 5])
def test_growth_by_an_odd_multiple_keeps_the_pixel_centres(decorrelate: bool, old: tuple[int, int], times: int) -> None:
    made = strong(old, decorrelate)
    before = made()
    made.resize((old[0] * times, old[1] * times))
    torch.testing.assert_close(made()[..., times // 2 :: times, times // 2 :: times], before, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [((15, 15), (22, 22)), ((15, 15), (19, 19)), ((33, 27), (44, 36))],  # the ratio of the sides stays
)
def test_growth_keeps_the_series(old: tuple[int, int], new: tuple[int, int]) -> None:
    made = strong(old)
    expected = logits_at(made, new)
    made.resize(new)
    np.testing.assert_allclose(made().detach().logit().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("old", "new"), [((37, 29), (41, 32)), ((9, 7), (10, 8)), ((15, 15), (22, 30))])
def test_growth_keeps_the_series_when_the_sides_ratio_changes(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Growth by 1.1 rounds the sides, and the ratio changes with that; the picture should not."""
    made = strong(old)
    expected = logits_at(made, new)
    made.resize(new)
    np.testing.assert_allclose(made().detach().logit().numpy(), expected, atol=1e-3)


def test_new_frequencies_can_be_filled() -> None:
    made = strong((9, 7))
    filled = made.resample(torch.zeros_like(made.values), (9, 7), (18, 15), fill=3.0)
    assert sorted(set(filled.flatten().tolist())) == [0.0, 3.0]
    assert (filled == 0).sum() == made.values.numel()


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_is_scipys_on_a_periodic_picture(sigma: float) -> None:
    made = strong((37, 29))
    logits = made().detach().double().logit().numpy()
    made.blur(sigma)
    expected = gaussian_filter(logits, sigma, mode="wrap", axes=(2, 3), truncate=6)
    # A sampled Gaussian of 0.7 px is not quite the Gaussian's transform at the highest frequencies.
    np.testing.assert_allclose(made().detach().double().logit().numpy(), expected, atol=0.02 * np.abs(logits).max())


def test_blur_damps_a_wave_by_the_gaussians_transform() -> None:
    """A wave of 3 cycles in 29 columns keeps exp(-2 (pi sigma 3 / 29)^2) of its amplitude."""
    made = Fourier(decorrelate=False)
    wave = 0.5 * torch.cos(2 * math.pi * 3 * torch.arange(29) / 29)
    made.from_image(wave.expand(1, 3, 37, 29).sigmoid())
    made.blur(2.0)
    damped = wave * math.exp(-2 * (math.pi * 2.0 * 3 / 29) ** 2)
    torch.testing.assert_close(made().logit(), damped.expand(1, 3, 37, 29), atol=1e-5, rtol=0)


def test_noise_falls_with_frequency() -> None:
    """Power of the pictures to start with falls as 1 / f^2."""
    made = Fourier(sd=0.01, decorrelate=False)
    made.initialize((65, 65), generators(range(16)))
    power = (np.abs(np.fft.fft2(made().detach().logit().numpy())) ** 2).mean((0, 1))
    f = np.hypot(np.fft.fftfreq(65)[:, None], np.fft.fftfreq(65)[None]) * 65
    # The first column is twice as strong: its waves stand in the half spectrum two times.
    inner = np.s_[:, 1:33]
    bands = [(2, 4), (8, 16), (16, 32)]
    levels = [(power * f**2)[inner][(f[inner] >= low) & (f[inner] < high)].mean() for low, high in bands]
    np.testing.assert_allclose(levels, np.mean(levels), rtol=0.15)


def test_below_the_lowest_frequency_the_scale_is_flat() -> None:
    """And above it as without: a single wave of 2 and one of 5 cycles, of pictures whose decay is 2."""
    amplitudes = {}
    for lowest in (1.0, 4.0):
        made = Fourier(decay=2.0, decorrelate=False, lowest=lowest)
        values = torch.zeros(2, 3, 32, 17, 2)
        values[0, :, 0, 2, 0], values[1, :, 0, 5, 0] = 1.0, 1.0
        amplitudes[lowest] = made.decode(values, (32, 32)).amax((1, 2, 3)).tolist()
    assert amplitudes[1.0] == pytest.approx([0.5 / 4, 0.5 / 25])  # a quarter, and twice for both halves of the spectrum
    assert amplitudes[4.0] == pytest.approx([0.5 / 16, 0.5 / 25])


@pytest.mark.parametrize("lowest", [0.0, -1.0, float("nan"), float("inf")])
def test_a_lowest_frequency_that_is_none(lowest: float) -> None:
    with pytest.raises(UsageError, match="Fourier needs a finite lowest frequency above 0"):
        Fourier(lowest=lowest)
