"""The numbers of evidence, against the same by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from lightning_fv import load_network
from lightning_fv.functional import path_similarity
from lightning_fv.metrics import FeatureDiversity
from lightning_fv.objectives import Objective
from lightning_fv.targets import Target
from lightning_fv.trust.evaluate import FEW_BEST, OTHER, OWN, TOLD_APART, Evaluator
from tests.helpers import TinyNet
from tests.trust.runs import COUNT, SIZE, network_of, one_channel, pixels_of, responses_of, targets_of, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def pictures_of(count: int, *size: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, *(size or SIZE), generator=torch.Generator().manual_seed(seed))


def channel_means(network: object, pictures: Tensor, layer: str) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.capture(pictures, [layer])[layer]  # type: ignore[attr-defined]
    return found.mean((2, 3))


def test_a_score_is_compared_with_every_photo(photos: Path) -> None:
    network = network_of()
    targets = targets_of(network, "conv1:2", "logits:1")
    pictures = pictures_of(2)
    first, second = Evaluator(responses_of(network, photos, targets))(targets, ["a", "b"], pictures)
    values = channel_means(network, pixels_of(photos), "conv1")[:, 2]
    score = float(channel_means(network, pictures[:1], "conv1")[0, 2])
    assert first.faithful["score"] == pytest.approx(score, abs=1e-5)
    if float(values.max()) > 0:
        assert first.faithful["photo_multiple"] == pytest.approx(score / float(values.max()), rel=1e-4)
    assert first.faithful["photo_percentile"] == pytest.approx(100 * float((values < score).float().mean()))
    with torch.no_grad():
        logits = network(pictures[1:])[0]
    assert second.faithful["probability"] == pytest.approx(float(logits.softmax(0)[1]), abs=1e-5)
    assert second.faithful["rank"] == 1 + int((logits > logits[1]).sum())
    assert second.faithful["score"] == pytest.approx(float(logits[1]), abs=1e-5)
    assert "probability" not in first.faithful


def test_the_path_is_compared_with_photos_of_the_class_or_with_those_that_excite_the_unit(photos: Path) -> None:
    network = network_of()
    targets = targets_of(network, "logits:pizza", "conv2:3")
    pictures = pictures_of(2)
    found = Evaluator(responses_of(network, photos, targets))(targets, ["a", "b"], pictures)
    shown = pixels_of(photos)
    labels = [file.parent.name for file in sorted(photos.rglob("*.png"), key=lambda file: file.as_posix())]
    of_class = [row for row, label in enumerate(labels) if label == "pizza"]
    others = [row for row, label in enumerate(labels) if label != "pizza"]
    assert len(of_class) == OWN
    assert len(others) <= OTHER
    maps = channel_means(network, shown, "conv1")
    expected = path_similarity(channel_means(network, pictures[:1], "conv1"), maps[of_class], maps[others], TOLD_APART)
    said = found[0].path["conv1"]
    assert said is None if expected.isnan() else said == pytest.approx(float(expected), abs=1e-3)
    assert list(found[0].path)[-1] == "logits"
    order = channel_means(network, shown, "conv2")[:, 3].argsort(descending=True, stable=True)
    last = list(found[1].path)[-1]
    maps = channel_means(network, shown, last)
    expected = path_similarity(
        channel_means(network, pictures[1:], last), maps[order[:OWN]], maps[order[COUNT // 2 :]], TOLD_APART
    )
    assert last == "conv2"
    said = found[1].path[last]
    assert said is None if expected.isnan() else said == pytest.approx(float(expected), abs=1e-3)


def test_two_choice_asks_which_photo_is_more_like_the_picture(photos: Path) -> None:
    """A photo that excites the unit most tells more of it than the one that does least."""
    network = network_of()
    targets = targets_of(network, "conv2:3", "conv2:3 x2")[:1] * 2
    values = channel_means(network, pixels_of(photos), "conv2")[:, 3]
    pictures = pixels_of(photos)[[int(values.argmax()), int(values.argmin())]]
    best, worst = Evaluator(responses_of(network, photos, targets[:1]))(targets, ["a", "b"], pictures)
    maps = channel_means(network, pixels_of(photos), "conv2")
    order = values.argsort(descending=True, stable=True)
    for found, row in ((best, int(values.argmax())), (worst, int(values.argmin()))):
        alike = [scipy.stats.spearmanr(maps[row], photo).statistic for photo in maps]
        pairs = [(alike[one], alike[other]) for one in order[:FEW_BEST] for other in order[COUNT // 2 :]]
        right = sum((one > other) + 0.5 * (one == other) for one, other in pairs) / len(pairs)
        assert found.faithful["two_choice"] == pytest.approx(
            right, abs=0.02
        )  # photos are encoded and decoded in between
    assert float(best.faithful["two_choice"]) > 0.6 > 0.4 > float(worst.faithful["two_choice"])
    assert best.faithful["photo_percentile"] == 99
    assert best.faithful["photo_multiple"] == pytest.approx(1, abs=1e-4) or float(values.max()) <= 0
    assert worst.verdict == "doubt"  # with so few photos
    assert any("does not show what excites" in reason for reason in worst.reasons)


def test_the_same_evidence_every_time_and_in_every_batch(photos: Path) -> None:
    network = network_of()
    targets = targets_of(network, "conv1:2", "logits:1", "conv2:0")
    evaluator, pictures = Evaluator(responses_of(network, photos, targets)), pictures_of(3)
    once, twice = (evaluator(targets, ["a", "b", "c"], pictures) for _ in range(2))
    assert [found.to_json() for found in once] == [found.to_json() for found in twice]
    (alone,) = evaluator(targets[1:2], ["b"], pictures[1:2])
    for name in ("score", "transformed_score", "probability", "mono_score", "two_choice"):
        assert alone.faithful[name] == pytest.approx(once[1].faithful[name], abs=1e-5)
    assert once[0].faithful["transformed_score"] != once[0].faithful["score"]


def test_a_judge_is_asked_for_its_own_class_and_else_for_the_unit_that_responds_alike(photos: Path) -> None:
    network = network_of()
    targets = targets_of(network, "logits:pizza", "logits:lion", "conv2:3")
    module = TinyNet(1)
    judge = network_of(module, "judge", categories=("n07873807", "a", "b", "c", "d"))  # pizza's id in WordNet
    pictures = pictures_of(3)
    evaluator = Evaluator(responses_of(network, photos, targets), [responses_of(judge, photos)])
    pizza, lion, channel = evaluator(targets, ["a", "b", "c"], pictures)
    with torch.no_grad():
        probabilities = judge(pictures).softmax(1)
    assert pizza.plausible["p(judge)"] == pytest.approx(float(probabilities[0, 0]), abs=1e-5)
    assert pizza.plausible["rank(judge)"] == 1 + int((probabilities[0] > probabilities[0, 0]).sum())
    assert "match(judge)" not in pizza.plausible
    for found in (lion, channel):
        assert "p(judge)" not in found.plausible
        stage, unit = str(found.plausible["match(judge)"]).split(":")
        assert stage in ("conv1", "bn", "relu", "conv2", "logits")
        assert 0 <= float(found.plausible["percentile(judge)"]) <= 100
        assert -1 <= float(found.plausible["correlation(judge)"]) <= 1
        assert int(unit) < 8


class NaNs(nn.Module):
    """NaN for photos that are brighter than others."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.net, self.level = TinyNet(2), -1e9 if always else 0.0

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean((1, 2, 3), keepdim=True) > self.level
        found: Tensor = self.net(torch.where(bright, torch.nan, x))
        return found


def test_photos_that_are_not_finite_are_counted_and_never_trusted(photos: Path) -> None:
    network = network_of(NaNs())
    targets = targets_of(network_of(), "logits:1")
    (found,) = Evaluator(responses_of(network, photos, targets))(targets, ["a"], pictures_of(1) * 0.2)
    with torch.no_grad():
        bad = int((~torch.isfinite(network(pixels_of(photos))).all(1)).sum())
    assert 0 < bad < COUNT
    assert found.faithful["photos_not_finite"] == bad
    assert found.verdict in ("doubt", "distrust")
    assert any(f"not finite for {bad} of {COUNT} photos" in reason for reason in found.reasons)
    assert math.isnan(float(found.faithful["mono_score"]))


def test_a_network_of_nan_gives_no_verdict(photos: Path) -> None:
    network = network_of(NaNs(always=True))
    targets = targets_of(network_of(), "logits:1")
    (found,) = Evaluator(responses_of(network, photos, targets))(targets, ["a"], pictures_of(1))
    assert found.verdict == "unknown"
    assert found.reasons == ["the unit's value is not finite for any photo"]


def test_a_picture_of_nan_values_gives_no_verdict(photos: Path) -> None:
    network = network_of(NaNs())
    targets = targets_of(network_of(), "logits:1")
    (found,) = Evaluator(responses_of(network, photos, targets))(targets, ["a"], torch.ones(1, 3, *SIZE))
    assert found.verdict == "unknown"
    assert found.reasons == ["the unit's value for the picture is not finite"]


def test_judges_of_nan_are_named_and_never_agree(photos: Path) -> None:
    network = network_of()
    targets = targets_of(network, "logits:pizza", "conv2:1")
    for always in (True, False):
        judge = responses_of(network_of(NaNs(always), "judge"), photos)
        found = Evaluator(responses_of(network, photos, targets), [judge])(targets, ["a", "b"], torch.ones(2, 3, *SIZE))
        assert "the output of judge is not finite" in found[0].reasons
        assert found[0].verdict in ("doubt", "distrust")
        assert found[0].plausible["photos_not_finite(judge)"] == judge.not_finite > 0
        assert found[1].plausible["photos_not_finite(judge)"] == judge.not_finite
        assert all("not finite" not in reason for reason in found[1].reasons)
        assert "match(judge)" not in found[1].plausible


def test_pictures_of_one_unit_are_compared_with_each_other(photos: Path) -> None:
    network = network_of()
    targets = targets_of(network, "conv2:3")
    evaluator = Evaluator(responses_of(network, photos, targets))
    picture, others = pictures_of(1), pictures_of(2, seed=1)
    (alone,) = evaluator(targets, ["a"], picture, [others[:0]], [others[:0]])
    assert not {"seed_agreement", "facet_agreement", "seeds", "facets"} & alone.faithful.keys()
    (same,) = evaluator(targets, ["a"], picture, [picture], [picture])
    assert same.faithful["seed_agreement"] == pytest.approx(1, abs=1e-5)
    assert same.faithful["facet_agreement"] == pytest.approx(1, abs=1e-5)
    assert same.plausible["diversity"] == pytest.approx(0, abs=1e-5)
    (found,) = evaluator(targets, ["a"], picture, [others[:1]], [others])
    assert (found.faithful["seeds"], found.faithful["facets"]) == (2, 3)
    assert float(found.faithful["facet_agreement"]) < 1
    diversity = FeatureDiversity()
    layers = [stage for stage in evaluator.responses.stages if stage != "logits"]
    with torch.no_grad():
        diversity.update(list(network.capture(torch.cat([picture, others]), layers).values()))
    assert found.plausible["diversity"] == pytest.approx(float(diversity.compute()), rel=1e-3)


def test_whatever_can_be_rendered_has_evidence(photos: Path) -> None:
    network = network_of()
    targets = targets_of(
        network, "conv1:2@1,1", "sum(0.5*conv1:1 - 0.3*conv2:2)", "probability:pizza", "conv2", "logits:1 x3"
    )
    found = Evaluator(responses_of(network, photos, targets))(targets, list("abcdefg"), pictures_of(7, 24, 30))
    assert len(found) == 7
    for evidence in found:
        assert evidence.verdict != "unknown", evidence
        assert {"score", "transformed_score", "photo_percentile", "mono_score"} <= evidence.faithful.keys()
        assert bool(evidence.path) == ("two_choice" in evidence.faithful) == ("@" not in evidence.target)
        assert evidence.plausible["high_frequency_ratio"]
    assert found[2].faithful["probability"] == pytest.approx(float(found[4].faithful["probability"]), abs=1)


def test_a_network_of_grey_pictures_and_a_judge_of_colours(photos: Path) -> None:
    grey, colour = one_channel(), network_of(TinyNet(1))
    targets = targets_of(grey, "logits:pizza", "0:3")
    pictures = pictures_of(2)[:, :1]
    for evidence in Evaluator(responses_of(grey, photos, targets), [responses_of(colour, photos)])(
        targets, ["a", "b"], pictures
    ):
        assert evidence.verdict != "unknown"
        assert {"p(tiny)", "match(tiny)"} & evidence.plausible.keys()


@pytest.mark.parametrize("target", ["blocks.1:3", "blocks.1:3@4", "logits:pizza"])
def test_units_of_a_vision_transformer(target: str, tmp_path: Path) -> None:
    network = load_network("demo/vit")
    targets = targets_of(network, target)
    (found,) = Evaluator(responses_of(network, write_photos(tmp_path / "p", 90), targets))(
        targets, ["a"], pictures_of(1, 96, 96)
    )
    assert found.verdict != "unknown"
    assert bool(found.path) == ("two_choice" in found.faithful) == ("@" not in target)


def test_few_photos_are_no_reason_to_trust(tmp_path: Path) -> None:
    network = network_of()
    targets = targets_of(network, "logits:1", "conv1:2")
    for count in (1, 3, 20):
        photos = write_photos(tmp_path / str(count), count)
        for found in Evaluator(responses_of(network, photos, targets))(targets, ["a", "b"], pictures_of(2)):
            assert found.verdict in ("doubt", "distrust")
            assert any("too few for the two-choice test" in reason for reason in found.reasons)


class OwnPhoto(Objective):
    """Compares with the picture that the render starts from."""

    @property
    def layers(self) -> frozenset[str]:
        return frozenset({"conv1"})

    @property
    def photos(self) -> frozenset[tuple[str, None]]:
        return frozenset({("conv1", None)})

    def __call__(self, activations: object, images: Tensor) -> Tensor:
        raise AssertionError("it cannot be evaluated without its photo")


def test_what_has_no_value_for_photos_says_why(photos: Path) -> None:
    network = network_of()
    other = Target(OwnPhoto(), "own", "own", "own")
    evaluator = Evaluator(
        responses_of(network, photos), [], {other.objective.key: "it compares with a photo of its own"}
    )
    (found,) = evaluator([other], ["a"], pictures_of(1))
    assert (found.verdict, found.reasons) == ("unknown", ["it compares with a photo of its own"])
    assert "saturated" in found.plausible
    assert np.isnan(found.faithful["score"])
