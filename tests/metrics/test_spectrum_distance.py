"""Distance of spectra from those of photos, against numpy and closed forms."""

import math

import numpy as np
import pytest
import torch

from lightning_fv.functional import PhotoSet, photo_spectrum
from lightning_fv.metrics import SpectrumDistance, log_spectral_distance, radial_spectrum
from tests.metrics.measure import measure, merged, uniform

SETS: list[tuple[PhotoSet, int]] = [("imagenet", 224), ("tiny_imagenet", 64)]


@pytest.mark.parametrize("size", [(16, 16), (15, 15), (12, 9)])
def test_the_radial_spectrum_is_numpys(size: tuple[int, int], device: torch.device) -> None:
    images = uniform(2, 3, *size)
    height, width = size
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    x = images.double().numpy()
    power = np.abs(np.fft.fft2((x - (x * window).sum((2, 3), keepdims=True) / window.sum()) * window)) ** 2
    power[..., 0, 0] = 0
    found = radial_spectrum(images.to(device)).cpu()
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) * max(size)
    for ring in range(found.shape[1]):
        inside = (f > ring) & (f <= ring + 1)
        expected = (power * inside).sum((1, 2, 3)) / power.sum((1, 2, 3))
        torch.testing.assert_close(found[:, ring].double(), torch.tensor(expected), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.sum(1), torch.ones(2))


def test_its_rings_are_those_of_photos() -> None:
    for photos, side in SETS:
        assert radial_spectrum(uniform(1, 3, side, side)).shape[1] == len(photo_spectrum(photos))


@pytest.mark.parametrize(("photos", "side"), SETS)
def test_the_photos_own_spectrum_is_at_0(photos: PhotoSet, side: int) -> None:
    own = torch.tensor([photo_spectrum(photos)])
    assert float(log_spectral_distance(own, photos)) == 0
    assert float(log_spectral_distance(10 * own, photos)) == pytest.approx(10, rel=1e-5)
    one_ring = own.clone()
    one_ring[0, 3] /= 100  # 20 dB in one of side / 2 rings
    assert float(log_spectral_distance(one_ring, photos)) == pytest.approx(20 / math.sqrt(side / 2), rel=1e-5)
    beyond = own.clone()
    beyond[0, side // 2 :] = 0
    assert float(log_spectral_distance(beyond, photos)) == 0


@pytest.mark.parametrize(("photos", "side"), SETS)
def test_of_a_single_colour_it_is_large_and_finite(photos: PhotoSet, side: int) -> None:
    expected = np.sqrt(np.mean((10 * np.log10(1e-8 / np.array(photo_spectrum(photos)[: side // 2]))) ** 2))
    assert measure(SpectrumDistance(photos), torch.full((1, 3, side, side), 0.5)) == pytest.approx(expected, rel=1e-4)


def test_noise_like_photos_is_nearer_than_white_noise() -> None:
    white = uniform(4, 3, 64, 64)
    f = torch.hypot(torch.fft.fftfreq(64, 1 / 64)[:, None], torch.fft.rfftfreq(64, 1 / 64)[None]).clamp_min(1)
    pink = torch.fft.irfft2(torch.fft.rfft2(white - 0.5) / f, s=(64, 64)) + 0.5
    metric = SpectrumDistance("tiny_imagenet")
    assert measure(metric, pink) < 3 < 7 < measure(metric, white)


def test_workers_together_are_one() -> None:
    images = uniform(5, 3, 64, 64) ** torch.arange(1.0, 6.0)[:, None, None, None]
    metric = SpectrumDistance("tiny_imagenet")
    whole = measure(metric, images)
    assert float(merged(SpectrumDistance("tiny_imagenet"), (images[:2],), (images[2:],))) == pytest.approx(whole)
    alone = [measure(metric, picture[None]) for picture in images]
    assert whole == pytest.approx(np.mean(alone), rel=1e-5)


def test_nan_is_not_averaged_away() -> None:
    images = uniform(3, 3, 64, 64)
    images[1, 0, 5, 5] = torch.nan
    assert np.isnan(measure(SpectrumDistance("tiny_imagenet"), images))


def test_other_sizes_and_photos_are_refused() -> None:
    with pytest.raises(ValueError, match="64 x 48 px, but the spectrum of tiny_imagenet is that of 64 x 64 px"):
        SpectrumDistance("tiny_imagenet").update(uniform(1, 3, 64, 48))
    with pytest.raises(ValueError, match="no photos are called 'cats'"):
        SpectrumDistance("cats")  # type: ignore[arg-type]
