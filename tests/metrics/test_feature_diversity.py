"""Diversity over units; the distance itself is tested in tests/functional/test_pairs.py."""

from itertools import combinations

import numpy as np
import pytest
import torch

from lightning_fv.functional import feature_distances
from lightning_fv.metrics import FeatureDiversity
from tests.helpers import noise
from tests.metrics.measure import merged, updated

UNITS = [[noise(count, 5, 4, 6, seed=count), noise(count, 8, 2, 3, seed=count + 9)] for count in (2, 3, 4)]


def test_it_is_the_mean_over_pairs_and_units() -> None:
    expected = []
    for layers in UNITS:
        distances = feature_distances(layers)
        expected.append(np.mean([float(distances[i, j]) for i, j in combinations(range(len(distances)), 2)]))
    updates = [(layers,) for layers in UNITS]
    assert float(updated(FeatureDiversity(), *updates)) == pytest.approx(np.mean(expected))
    assert float(merged(FeatureDiversity(), *updates)) == pytest.approx(np.mean(expected))


def test_of_the_same_picture_it_is_0() -> None:
    same = [layer[:1].expand(3, -1, -1, -1) for layer in UNITS[0]]
    assert float(updated(FeatureDiversity(), (same,))) == 0


def test_nan_is_not_averaged_away() -> None:
    broken = [UNITS[0][0].clone(), UNITS[0][1]]
    broken[0][1, 0, 0, 0] = torch.nan
    assert bool(updated(FeatureDiversity(), (UNITS[1],), (broken,)).isnan())


def test_one_picture_is_refused() -> None:
    for layers in ([noise(1, 5, 4, 6)], []):
        with pytest.raises(ValueError, match="at least two pictures of a unit"):
            FeatureDiversity().update(layers)
