"""Total variation per pair of neighbours, against loops and known pictures."""

import numpy as np
import pytest
import torch

from lightning_fv.metrics import TotalVariationDensity
from tests.metrics.measure import measure, merged, uniform


@pytest.mark.parametrize("size", [(7, 5), (1, 8), (9, 1)])
def test_it_is_the_mean_over_pairs(size: tuple[int, int], device: torch.device) -> None:
    images = uniform(2, 3, *size)
    x, differences = images.double().numpy(), []
    for b, c, i, j in np.ndindex(x.shape):
        differences += [abs(x[b, c, i, j] - x[b, c, i - 1, j])] if i else []
        differences += [abs(x[b, c, i, j] - x[b, c, i, j - 1])] if j else []
    assert measure(TotalVariationDensity(), images, device=device) == pytest.approx(np.mean(differences), rel=1e-5)


def test_known_pictures() -> None:
    rows, columns = torch.arange(6)[:, None], torch.arange(9)
    assert measure(TotalVariationDensity(), ((rows + columns) % 2).float().expand(2, 3, 6, 9)) == 1
    assert measure(TotalVariationDensity(), torch.full((2, 3, 6, 9), 0.3)) == 0
    assert measure(TotalVariationDensity(), uniform(4, 3, 64, 48)) == pytest.approx(1 / 3, abs=0.01)


def test_size_does_not_matter() -> None:
    """A ramp of one grey level a pixel, and pictures of both sizes count alike."""
    small, large = (torch.arange(float(side)).expand(1, 3, side, side) / 100 for side in (8, 32))
    assert measure(TotalVariationDensity(), small) == pytest.approx(0.005, rel=1e-4)
    assert measure(TotalVariationDensity(), small, large) == pytest.approx(0.005, rel=1e-4)
    flat = torch.zeros(1, 3, 32, 32)
    assert measure(TotalVariationDensity(), small, flat) == pytest.approx(0.0025, rel=1e-4)


def test_workers_together_are_one() -> None:
    images = uniform(5, 3, 7, 6)
    whole = measure(TotalVariationDensity(), images)
    assert float(merged(TotalVariationDensity(), (images[:2],), (images[2:],))) == pytest.approx(whole)


def test_nan_is_not_averaged_away() -> None:
    images = uniform(5, 3, 7, 6)
    images[3, 1, 2, 2] = torch.nan
    assert np.isnan(measure(TotalVariationDensity(), images))
