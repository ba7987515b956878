"""The two-choice test over units; the answers themselves are tested in tests/functional."""

import copy

import pytest
import torch

from lightning_fv.functional import TwoChoiceTrials
from lightning_fv.metrics import TwoChoice
from tests.helpers import noise
from tests.metrics.measure import merged, updated

ACTIVATIONS, HINTS = noise(200, 7), noise(7, 3, 7, seed=1)
TRIALS, UNITS = TwoChoiceTrials.of(ACTIVATIONS), torch.arange(7)


def test_it_is_the_mean_over_units() -> None:
    right = TRIALS.right(UNITS, HINTS, ACTIVATIONS)
    metric = TwoChoice(TRIALS, ACTIVATIONS)
    assert 0 < float(right.mean()) < 1
    assert float(updated(metric, (UNITS, HINTS))) == pytest.approx(float(right.mean()))
    parts = (UNITS[:2], HINTS[:2]), (UNITS[2:], HINTS[2:])
    assert float(merged(metric, *parts)) == pytest.approx(float(right.mean()))
    assert metric.state_dict() == {}


def test_nan_is_not_averaged_away() -> None:
    hints = copy.deepcopy(HINTS)
    hints[3, 1, 0] = torch.nan
    assert bool(updated(TwoChoice(TRIALS, ACTIVATIONS), (UNITS, hints)).isnan())
