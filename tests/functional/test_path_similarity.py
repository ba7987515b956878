"""Path similarity, against scipy in loops."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from lightning_fv.functional import path_similarity
from tests.helpers import noise

KIND = 2 * noise(3, 1, 40)
"""What photos of each of three classes have in common."""
OWN = KIND + noise(3, 4, 40, seed=1)
OTHER = noise(6, 40, seed=2)
PICTURES = KIND[:, 0] + 3 * noise(3, 40, seed=3)


def correlation(one: Tensor, other: Tensor) -> float:
    return float(spearmanr(one.numpy(), other.numpy()).statistic)


def test_it_is_scipys(device: torch.device) -> None:
    found = path_similarity(PICTURES.to(device), OWN.to(device), OTHER.to(device))
    for picture, own, value in zip(PICTURES, OWN, found.tolist(), strict=True):
        alike = np.mean([correlation(picture, photo) for photo in own])
        within = np.mean([correlation(one, another) for one, another in combinations(own, 2)])
        between = np.mean([correlation(photo, another) for photo in own for another in OTHER])
        assert value == pytest.approx((alike - between) / (within - between), abs=1e-5)


def test_photos_of_one_class_serve_all_pictures() -> None:
    alone = torch.cat([path_similarity(picture[None], OWN[:1], OTHER) for picture in PICTURES])
    torch.testing.assert_close(path_similarity(PICTURES, OWN[0], OTHER), alone)


def test_photos_of_the_class_are_at_1_and_others_at_0() -> None:
    photos = 2 * KIND[0] + noise(60, 40, seed=4)
    mine = path_similarity(photos[:30], photos[30:], OTHER)
    assert float(mine.mean()) == pytest.approx(1, abs=0.05)
    others = path_similarity(OTHER, photos[30:], OTHER)
    assert float(others.mean()) == pytest.approx(0, abs=1e-5)


def test_without_a_scale_it_is_undefined() -> None:
    """Photos of the class that are no more alike than they are like others."""
    assert math.isnan(float(path_similarity(PICTURES[:1], torch.cat([OWN[0, :1], -OWN[0, :1]]), OTHER)))
    scale = 0.4 < float(np.mean([correlation(one, another) for one, another in combinations(OWN[0], 2)])) < 0.9
    assert scale
    assert not path_similarity(PICTURES, OWN, OTHER, least=0.4).isnan().any()
    assert bool(path_similarity(PICTURES, OWN, OTHER, least=1.1).isnan().all())


def test_nan_stays_with_its_picture() -> None:
    pictures, own = PICTURES.clone(), OWN.clone()
    pictures[1, 3] = torch.nan
    own[2, 0, 3] = torch.nan
    assert path_similarity(pictures, own, OTHER).isnan().tolist() == [False, True, True]
    pictures[0] = 0.5
    assert path_similarity(pictures, own, OTHER).isnan().tolist() == [True, True, True]


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(ValueError, match="two photos of a class and one of others are needed, not 1 and 6"):
        path_similarity(PICTURES, OWN[:, :1], OTHER)
    with pytest.raises(ValueError, match="not 4 and 0"):
        path_similarity(PICTURES, OWN, OTHER[:0])
