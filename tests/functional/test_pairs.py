"""Distances of pairs of pictures, against loops."""

from itertools import combinations

import numpy as np
import pytest
import torch

from lightning_fv.functional import feature_distances, mean_of_pairs
from tests.helpers import noise

LAYERS = [noise(3, 5, 4, 6), noise(3, 8, 2, 3, seed=1).relu(), noise(3, 7, seed=2)]


def test_the_distance_is_that_of_its_formula(device: torch.device) -> None:
    found = feature_distances([layer.to(device) for layer in LAYERS]).cpu()
    expected = np.zeros((3, 3))
    for layer in LAYERS:
        x = layer.double().numpy().reshape(3, layer.shape[1], -1)
        for i, j in np.ndindex(3, 3):
            by_place = []
            for place in range(x.shape[2]):
                one, other = x[i, :, place], x[j, :, place]
                by_place.append(((one / np.linalg.norm(one) - other / np.linalg.norm(other)) ** 2).sum())
            expected[i, j] += np.mean(by_place)
    torch.testing.assert_close(found.double(), torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_known_distances() -> None:
    one = torch.zeros(4, 3, 2, 2)
    one[0, 0], one[1, 0], one[2, 0], one[3, 2] = 1, 5, -1, 1
    assert feature_distances([one]).tolist() == [[0, 0, 4, 2], [0, 0, 4, 2], [4, 4, 0, 2], [2, 2, 2, 0]]
    assert torch.equal(feature_distances([one, one]), 2 * feature_distances([one]))
    assert feature_distances([torch.zeros(2, 3, 2, 2)]).tolist() == [[0, 0], [0, 0]]


def test_small_distances_are_not_lost() -> None:
    pair = noise(1, 50, 3, 3).expand(2, 50, 3, 3).clone()
    pair[1] *= 1 + 1e-4 * noise(50, 3, 3, seed=1)
    expected = feature_distances([pair.double().float()])[0, 1]
    x = pair.double()
    exact = (
        (torch.nn.functional.normalize(x[0], dim=0) - torch.nn.functional.normalize(x[1], dim=0)).square().sum(0).mean()
    )
    assert float(expected) == pytest.approx(float(exact), rel=0.01)


def test_nan_stays_with_its_picture() -> None:
    layer = LAYERS[0].clone()
    layer[1, 2, 0, 0] = torch.nan
    row, other = [True, True, True], [False, True, False]
    assert feature_distances([layer, LAYERS[1]]).isnan().tolist() == [other, row, other]


def test_the_mean_of_pairs_leaves_the_diagonal_out() -> None:
    points = noise(2, 5, 3).double()
    matrix = torch.cdist(points, points) + 100 * torch.eye(5)
    for found, rows in zip(mean_of_pairs(matrix), points, strict=True):
        assert float(found) == pytest.approx(np.mean([np.linalg.norm(a - b) for a, b in combinations(rows.numpy(), 2)]))
    assert bool(mean_of_pairs(torch.ones(1, 1)).isnan())
