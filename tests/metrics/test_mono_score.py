"""The monosemanticity score, against its double loop."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv.metrics import MonoScore
from tests.helpers import noise
from tests.metrics.measure import merged, uniform, updated

EMBEDDINGS = noise(30, 6) + 0.5
ACTIVATIONS = torch.cat([noise(30, 3, seed=1).relu(), 100 + noise(30, 1, seed=2), uniform(30, 1) ** 8], 1)


def score(embeddings: Tensor, activations: Tensor) -> Tensor:
    return updated(MonoScore(activations.shape[1], embeddings.shape[1]), (embeddings, activations))


def by_pairs(embeddings: Tensor, activations: Tensor) -> list[float]:
    e, a = embeddings.double().numpy(), activations.double().numpy()
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    a = (a - a.min(0)) / (a.max(0) - a.min(0))
    found = []
    for unit in a.T:
        alike, weight = 0.0, 0.0
        for i in range(len(e)):
            for j in range(i):
                alike += unit[i] * unit[j] * (e[i] @ e[j])
                weight += unit[i] * unit[j]
        found.append(alike / weight)
    return found


def test_it_is_the_double_loop() -> None:
    assert score(EMBEDDINGS, ACTIVATIONS).tolist() == pytest.approx(by_pairs(EMBEDDINGS, ACTIVATIONS), abs=1e-6)


def test_batches_and_workers_together_are_one() -> None:
    whole = score(EMBEDDINGS, ACTIVATIONS)
    batches = list(zip(EMBEDDINGS.split(7), ACTIVATIONS.split(7), strict=True))
    torch.testing.assert_close(updated(MonoScore(5, 6), *batches), whole)
    torch.testing.assert_close(merged(MonoScore(5, 6), *batches), whole)


def test_a_unit_of_one_kind_of_photo_has_1() -> None:
    """Of two kinds at a right angle, with equal weight: of 2 n photos n - 1 of the 2 n - 1 others are of one's kind."""
    kinds = torch.eye(2).repeat_interleave(10, 0)
    silent = torch.zeros(1, 2), torch.ones(1, 2)
    embeddings = torch.cat([kinds, silent[1]])
    one_kind, both = torch.cat([kinds[:, 0], torch.zeros(1)]), torch.cat([torch.ones(20), torch.zeros(1)])
    opposite = score(torch.tensor([[1.0, 0], [-1, 0], [0, 1]]), torch.tensor([[1.0], [1], [0]]))
    assert score(embeddings, torch.stack([one_kind, both], 1)).tolist() == pytest.approx([1, 9 / 19])
    assert float(opposite) == pytest.approx(-1)


def test_neither_scale_nor_offset_matters() -> None:
    whole = score(EMBEDDINGS, ACTIVATIONS)
    torch.testing.assert_close(score(EMBEDDINGS * uniform(30, 1), 3 * ACTIVATIONS.double() - 7), whole)


def test_without_pairs_it_is_nan() -> None:
    activations = ACTIVATIONS.clone()
    activations[:, 0] = 0  # dead
    activations[:, 1], activations[4, 1] = 0.1, 0.3  # one photo only
    activations[7, 3] = torch.nan
    activations[7, 4] = torch.inf
    found = score(EMBEDDINGS, activations)
    assert found.isnan().tolist() == [True, True, False, True, True]
    assert float(found[2]) == pytest.approx(by_pairs(EMBEDDINGS, ACTIVATIONS)[2], abs=1e-6)


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_a_photo_without_direction_is_not_averaged_away(value: float) -> None:
    embeddings = EMBEDDINGS.clone()
    embeddings[3] = value
    assert bool(score(embeddings, ACTIVATIONS).isnan().all())
