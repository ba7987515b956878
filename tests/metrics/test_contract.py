"""What every metric promises; what only one of them does is in its own file."""

import copy
import pickle

import pytest
import torch
from torchmetrics import Metric

from lightning_fv.metrics import HighFrequencyEnergy, SaturatedPixels, TotalVariationDensity
from tests.helpers import noise
from tests.metrics.measure import measure, uniform

METRICS = [SaturatedPixels(0.1), HighFrequencyEnergy(0.3), TotalVariationDensity()]


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)
def test_two_updates_are_one_of_both(metric: Metric, device: torch.device) -> None:
    images = (0.3 * noise(5, 3, 37, 29) + 0.5).clamp(0, 1)
    whole = measure(metric, images, device=device)
    assert 0 < whole < 1
    assert measure(metric, images[:2], images[2:], device=device) == pytest.approx(whole, abs=1e-6)
    assert measure(metric, *images.split(1), device=device) == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)
def test_copies_measure_alike(metric: Metric) -> None:
    images = uniform(2, 3, 9, 7)
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert measure(twin, images) == measure(metric, images)
