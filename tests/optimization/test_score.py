"""Records of finished renders: status, scores, and what is restored before."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, resolve_targets
from lightning_fv.optimization.nonfinite import NONFINITE_LIMIT
from lightning_fv.optimization.score import assess
from lightning_fv.parameterizations import Pixel
from lightning_fv.photos.statistics import PhotoStatistics, shipped_statistics
from tests.helpers import TinyNet, noise


@pytest.fixture
def network() -> VisionNetwork:
    categories = ["ant", "bee", "cat", "dog", "elk"]
    return VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20), categories=categories)


def bound_to(network: VisionNetwork, targets: str) -> FeatureVisualizer:
    return FeatureVisualizer(Pixel(sd=0.5)).bind(network, resolve_targets(targets, network))


def test_scores_are_those_of_the_plain_pictures(network: VisionNetwork) -> None:
    bound = bound_to(network, "logits:bee+conv1:3+probability:cat")
    with network.frozen():
        records = assess(bound, 7, 3.0, complete=True)
        logits = network(bound.pictures())
        conv1 = network.capture(bound.pictures(), ["conv1"])["conv1"]
    expected = [float(logits[0, 1]), float(conv1[1, 3].mean()), float(logits[2].softmax(0)[2])]
    assert [record.score for record in records] == pytest.approx(expected, rel=1e-5)
    assert [(record.status, record.steps, record.seconds) for record in records] == [("done", 7, 1.0)] * 3
    probabilities = logits.softmax(1)
    assert records[0].scores["probability"] == pytest.approx(float(probabilities[0, 1]), abs=1e-4)
    assert records[0].scores["top1"] == ["ant", "bee", "cat", "dog", "elk"][int(probabilities[0].argmax())]
    assert "probability" not in records[1].scores
    assert {record.status for record in assess(bound, 7, 3.0, complete=False)} == {"partial"}


def test_several_pictures_of_a_unit_are_ranked_and_compared(network: VisionNetwork) -> None:
    bound = bound_to(network, "logits:bee x3+conv1:3+conv1:2 x2")
    with network.frozen():
        records = assess(bound, 7, 3.0, complete=True)
        conv1, conv2 = (network.capture(bound.pictures(), [layer])[layer] for layer in ("conv1", "conv2"))
    assert [(record.unit, record.facet) for record in records] == [
        ("logits:bee", 1), ("logits:bee", 2), ("logits:bee", 3), (None, None), ("conv1:2", 1), ("conv1:2", 2),
    ]  # fmt: skip
    for rows, maps in ((range(3), conv2), (range(4, 6), conv1)):
        scores = [float(records[row].score or 0) for row in rows]
        assert [records[row].scores["rank"] for row in rows] == [
            1 + sorted(scores, reverse=True).index(s) for s in scores
        ]
        grams = [(maps[row].flatten(1) @ maps[row].flatten(1).T).flatten() for row in rows]
        for own, row in zip(grams, rows, strict=True):
            others = [float(torch.cosine_similarity(own, other, dim=0)) for other in grams if other is not own]
            assert records[row].scores["similarity"] == pytest.approx(sum(others) / len(others), abs=1e-4)
    assert not {"rank", "similarity"} & records[3].scores.keys()


def test_nonfinite_pictures_are_restored_and_the_others_left(network: VisionNetwork) -> None:
    bound = bound_to(network, "logits:0-2")
    values = bound.parameterization.values
    start, moved = values.detach().clone(), noise(*values.shape, seed=1)
    with torch.no_grad():
        values.copy_(moved)
        values[1, 0, 3, 4] = torch.nan
    with network.frozen():
        records = assess(bound, 7, 3.0, complete=True)
    assert torch.equal(values[1], start[1])
    assert torch.equal(values[[0, 2]], moved[[0, 2]])
    assert [record.status for record in records] == ["done"] * 3
    assert all(record.score is not None and math.isfinite(record.score) for record in records)


class Silent(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.mean((2, 3)) * torch.tensor([1.0, 0.0, 1.0])).relu()


def test_a_unit_without_value_and_gradient_is_dead() -> None:
    network = VisionNetwork(Silent(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(6, 5))
    bound = bound_to(network, "logits:0-2")
    bound.dead_units.restarts[1] = 3
    records = assess(bound, 7, 3.0, complete=True)
    assert [record.status for record in records] == ["done", "dead", "done"]
    assert [record.scores.get("restarts") for record in records] == [None, 3, None]


def test_saturated_pictures_are_reported_in_one_warning(network: VisionNetwork) -> None:
    bound = bound_to(network, "logits:0-4")
    with torch.no_grad():
        bound.parameterization.values.mul_(1e4)
    with network.frozen(), pytest.warns(UserWarning, match=r"in 5 of 5 pictures .*smaller learning rate"):
        assess(bound, 7, 3.0, complete=True)


def test_units_are_compared_with_photos(network: VisionNetwork) -> None:
    bound = bound_to(network, "conv1:3+logits:bee+conv1:4+conv2:1+probability:bee+conv1:3@2,4")
    values = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    values[7, 4] = np.nan
    photos = PhotoStatistics.of({"conv1": values, "logits": values[:, :5]})
    with network.frozen():
        records = assess(bound, 7, 3.0, complete=True, photos=photos)
    for record, column in zip(records[:2], (3, 1), strict=True):
        assert record.score is not None
        lower = 100 * float((values[:, column] < record.score).mean())
        assert record.scores["photo_percentile"] == pytest.approx(lower, abs=2)
        assert record.scores["photo_multiple"] == pytest.approx(record.score / float(values[:, column].max()), abs=1e-3)
        assert "photos" not in record.scores
    for record in records[2:]:  # not finite for a photo; of another layer; no units
        assert not {"photo_percentile", "photo_multiple", "photos"} & record.scores.keys()


def test_pictures_of_embedded_networks_are_compared_with_the_shipped_statistics(network: VisionNetwork) -> None:
    demo = load_network("demo")
    bound = bound_to(demo, "layer3:5+logits:lion+layer3.0.conv1:5")
    with demo.frozen():
        records = assess(bound, 7, 3.0, complete=True)
    statistics = shipped_statistics(demo)
    assert statistics is not None
    for record, unit in zip(records[:2], (("layer3", 5), ("logits", demo.categories.index("lion"))), strict=True):
        comparison = statistics.compare(*unit, float(record.score or 0))
        assert comparison is not None
        assert comparison.scores().items() <= record.scores.items()
    assert "photo_percentile" not in records[2].scores
    with network.frozen():
        assert "photo_percentile" not in assess(bound_to(network, "logits:bee"), 7, 3.0, complete=True)[0].scores


def test_a_diverged_picture_is_not_compared(network: VisionNetwork) -> None:
    bound = bound_to(network, "logits:0-1")
    bound.guard.nonfinite_count[0] = NONFINITE_LIMIT
    photos = PhotoStatistics.of({"logits": np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)})
    with network.frozen():
        records = assess(bound, 7, 3.0, complete=True, photos=photos)
    assert [record.status for record in records] == ["diverged", "done"]
    assert ["photo_percentile" in record.scores for record in records] == [False, True]
