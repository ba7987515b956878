"""Path similarity over pictures and layers; the formula itself is tested in tests/functional."""

import pytest
import torch
from torch import Tensor

from lightning_fv.functional import path_similarity
from lightning_fv.metrics import PathSimilarity
from tests.helpers import noise
from tests.metrics.measure import merged, updated

KINDS = {"early": 0.5 * noise(5, 1, 30), "late": 2 * noise(5, 1, 12, seed=1)}
OWN = {layer: kind + noise(5, 4, kind.shape[2], seed=2) for layer, kind in KINDS.items()}
OTHER = {layer: noise(6, kind.shape[2], seed=3) for layer, kind in KINDS.items()}
PICTURES = {layer: kind[:, 0] + noise(5, kind.shape[2], seed=4) for layer, kind in KINDS.items()}


def part(values: dict[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {layer: value[rows] for layer, value in values.items()}


def test_it_is_the_mean_over_pictures_of_each_layer() -> None:
    metric = PathSimilarity(["late", "early"])
    found = updated(metric, (PICTURES, OWN, OTHER))
    expected = [path_similarity(PICTURES[layer], OWN[layer], OTHER[layer]) for layer in ("late", "early")]
    torch.testing.assert_close(found["similarity"], torch.stack(expected).mean(1))
    assert found["undefined"].tolist() == [0, 0]
    parts = [(part(PICTURES, rows), part(OWN, rows), OTHER) for rows in (slice(2), slice(2, 5))]
    for again in (updated(metric, *parts), merged(metric, *parts)):
        torch.testing.assert_close(again, found)


def test_what_is_undefined_is_counted() -> None:
    pictures = {layer: values.clone() for layer, values in PICTURES.items()}
    pictures["late"][1, 3] = torch.nan
    own = OWN | {"early": torch.cat([OWN["early"][:, :1], -OWN["early"][:, :1]], 1)}
    found = updated(PathSimilarity(["early", "late"]), (pictures, own, OTHER))
    others = path_similarity(PICTURES["late"], OWN["late"], OTHER["late"])[[0, 2, 3, 4]]
    assert found["undefined"].tolist() == [5, 1]
    assert found["similarity"].isnan().tolist() == [True, False]
    assert float(found["similarity"][1]) == pytest.approx(float(others.mean()))
