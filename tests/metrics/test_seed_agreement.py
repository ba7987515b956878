"""Agreement of seeds, against numpy."""

from itertools import combinations

import numpy as np
import pytest
import torch

from lightning_fv.metrics import SeedAgreement
from tests.helpers import noise
from tests.metrics.measure import merged, updated

MEAN, STD = 3 * noise(40), 0.1 + noise(40, seed=1).abs()
UNITS = [MEAN + noise(1, 40, seed=count) + noise(count, 40, seed=count + 9) for count in (2, 3, 4)]


def test_it_is_the_mean_over_pairs_and_units() -> None:
    expected = []
    for features in UNITS:
        x = (features.double().numpy() - MEAN.numpy()) / STD.numpy()
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(x, 2)]
        expected.append(np.mean(cosines))
    updates = [(features,) for features in UNITS]
    assert float(updated(SeedAgreement(MEAN, STD), *updates)) == pytest.approx(np.mean(expected), abs=1e-6)
    assert float(merged(SeedAgreement(MEAN, STD), *updates)) == pytest.approx(np.mean(expected), abs=1e-6)


def test_known_values() -> None:
    step = noise(1, 40)
    assert float(updated(SeedAgreement(MEAN, STD), (MEAN + torch.cat([step, 3 * step]),))) == pytest.approx(1)
    assert float(updated(SeedAgreement(MEAN, STD), (MEAN + torch.cat([step, -step]),))) == pytest.approx(-1)
    photos = MEAN + STD * noise(60, 40, seed=5)
    assert float(updated(SeedAgreement(MEAN, STD), (photos,))) == pytest.approx(0, abs=0.02)


def test_a_feature_that_no_photo_varies_is_left_out() -> None:
    std = STD.clone()
    std[7] = 0
    kept = [number for number in range(40) if number != 7]
    expected = updated(SeedAgreement(MEAN[kept], STD[kept]), (UNITS[1][:, kept],))
    assert float(updated(SeedAgreement(MEAN, std), (UNITS[1],))) == pytest.approx(float(expected))


def test_what_has_no_direction_is_not_averaged_away() -> None:
    for value in (MEAN, torch.full((40,), torch.nan)):
        broken = UNITS[1].clone()
        broken[1] = value
        assert bool(updated(SeedAgreement(MEAN, STD), (UNITS[0],), (broken,)).isnan())


def test_one_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two pictures of a unit"):
        SeedAgreement(MEAN, STD).update(UNITS[0][:1])
