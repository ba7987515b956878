"""High frequencies, against numpy and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv.metrics import HighFrequencyEnergy, high_frequency_share, windowed_power
from tests.metrics.measure import measure, uniform

SIZES = [(37, 29), (36, 28), (36, 29), (37, 28), (16, 16), (9, 1), (1, 8)]


def share_of_high_frequencies(images: Tensor, cutoff: float) -> float:
    """By numpy's full transform, whose bins all count once, after a Hann window."""
    height, width = images.shape[-2:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    pixels = images.double().numpy()
    mean = (pixels * window).sum((2, 3), keepdims=True) / window.sum()
    power = np.abs(np.fft.fft2((pixels - mean) * window)) ** 2
    power[..., 0, 0] = 0
    # In cycles per pixel, where 0.5 is the Nyquist frequency of either side.
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    return float(((power * (f > cutoff / 2)).sum((1, 2, 3)) / power.sum((1, 2, 3))).mean())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cutoff", [0.3, 0.5])
def test_high_frequency_energy_is_numpys(size: tuple[int, int], cutoff: float, device: torch.device) -> None:
    images = uniform(2, 3, *size)
    expected = share_of_high_frequencies(images, cutoff)
    assert measure(HighFrequencyEnergy(cutoff), images, device=device) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("cycles", "expected"), [(3, 0.0), (6, 0.0), (11, 1.0), (15, 1.0)])
def test_high_frequency_energy_of_a_wave(cycles: int, expected: float) -> None:
    """Of 32 columns the Nyquist frequency is 16 cycles, so that 8 are its half; the window spreads a wave a little."""
    wave = 0.5 + 0.4 * torch.cos(2 * math.pi * cycles * torch.arange(32) / 32)
    assert measure(HighFrequencyEnergy(), wave.expand(1, 3, 24, 32)) == pytest.approx(expected, abs=1e-3)


def test_high_frequency_energy_of_two_waves() -> None:
    """Energy goes with the square of the amplitude: 1 of 1 + 9."""
    x = torch.arange(32) / 32
    waves = 0.5 + 0.3 * torch.cos(2 * math.pi * 2 * x) + 0.1 * torch.cos(2 * math.pi * 12 * x)
    assert measure(HighFrequencyEnergy(), waves.expand(1, 3, 24, 32)) == pytest.approx(0.1, abs=2e-3)


def test_high_frequency_energy_of_white_noise() -> None:
    """A square of side 1 less a quarter circle of radius 1/2, in Nyquist frequencies: 1 - pi / 16 = 0.80."""
    white = uniform(16, 3, 64, 64)
    assert measure(HighFrequencyEnergy(), white) == pytest.approx(1 - math.pi / 16, abs=0.01)


def test_high_frequency_energy_of_a_smooth_picture_is_small(photo: Tensor) -> None:
    assert measure(HighFrequencyEnergy(), photo) < 1e-3


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0, 0.3, 0.7, 1 / 255])
def test_constant_picture_has_no_high_frequencies(level: float) -> None:
    """Nothing is left when the mean is left out, whatever the transform's rounding."""
    for size in ((37, 29), (64, 64)):
        assert measure(HighFrequencyEnergy(), torch.full((1, 3, *size), level)) == pytest.approx(0, abs=1e-3)


def test_high_frequency_energy_weighs_pictures_equally(photo: Tensor) -> None:
    white = uniform(1, 3, 37, 29)
    alone = [measure(HighFrequencyEnergy(), picture) for picture in (photo[:1], photo[1:], 0.01 * white)]
    assert measure(HighFrequencyEnergy(), photo, 0.01 * white) == pytest.approx(np.mean(alone), abs=1e-5)


def test_a_ramp_has_no_high_frequencies() -> None:
    """Without a window, the step from one border to the other would count as some."""
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert measure(HighFrequencyEnergy(), ramp) < 1e-4


def test_power_of_white_noise_is_its_variance_per_pixel() -> None:
    """The window's own energy is divided out: Parseval."""
    white = uniform(8, 3, 64, 48) - 0.5
    power = windowed_power(white).mean((0, 1)).sum() / (64 * 48) ** 2
    assert float(power) == pytest.approx(1 / 12, rel=0.03)


def test_the_share_of_each_picture_is_its_own(device: torch.device) -> None:
    images = uniform(4, 3, 37, 29)
    images[1], images[2] = 0.5, images[2].cumsum(1) / 37
    alone = [measure(HighFrequencyEnergy(0.3), image[None], device=device) for image in images]
    assert high_frequency_share(images.to(device), 0.3).tolist() == pytest.approx(alone, abs=1e-7)
    assert alone[1] == pytest.approx(0, abs=1e-6)
    assert alone[0] > 2 * alone[2]
