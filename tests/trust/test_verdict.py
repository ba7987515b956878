"""The words of a verdict, from what is known."""

import math

import pytest

from lightning_fv.runs.evidence import Evidence, Verdict
from lightning_fv.trust.verdict import verdict

GOOD = {"score": 3.0, "photo_percentile": 100.0, "photo_multiple": 1.8, "two_choice": 0.97}
PATH = {"conv1": 0.1, "conv2": 0.6, "logits": 0.8}


@pytest.mark.parametrize(
    ("changes", "path", "judges", "level", "said"),
    [
        ({}, {}, {}, "trust", "scores 1.8 times the best of 1,000 photos; processed like the photos that excite this unit from conv2 on"),
        ({}, {}, {"a": (0.9, 1.0)}, "trust", "the judge agrees (p 0.90)"),
        ({}, {}, {"a": (0.9, 1.0), "b": (0.2, 1.0)}, "trust", "both judges agree (p 0.90, 0.20)"),
        ({}, {}, dict.fromkeys("abc", (0.6, 2.0)), "trust", "all 3 judges agree (p 0.60, 0.60, 0.60)"),
        ({}, {}, {"a": (0.9, 1.0), "b": (0.2, 7.0)}, "doubt", "1 of 2 judges disagree (p 0.90, 0.20)"),
        ({}, {}, {"a": (math.nan, math.nan)}, "doubt", "the output of a is not finite"),
        ({}, {}, {"a": (0.9, 1.0), "b": (math.nan, math.nan)}, "doubt", "not finite; predicts"),
        ({"photo_multiple": 0.3}, {}, {}, "doubt", "scores 0.3 times the best of 1,000 photos"),
        ({"photo_multiple": -0.81}, {}, {}, "doubt", "scores below 0, and the best of 1,000 photos above it"),
        ({"photo_multiple": None}, {}, {}, "trust", "scores higher than all 1,000 photos"),
        ({"photo_multiple": None, "photo_percentile": 30.0}, {}, {}, "doubt", "scores higher than 30 % of 1,000 photos"),
        ({"activation_frequency": 0.01, "photo_multiple": 30.0}, {}, {}, "distrust", "hardly any photo excites this unit, and none nearly as strongly as the picture"),
        ({"activation_frequency": 0.0, "photo_multiple": None}, {}, {}, "distrust", "hardly any photo excites this unit"),
        ({"activation_frequency": 0.01}, {}, {}, "trust", "scores 1.8 times"),
        ({"photos_not_finite": 2.0}, {}, {}, "doubt", "is not finite for 2 of 1,002 photos"),
        ({"two_choice": 0.5}, {}, {}, "distrust", "does not show what excites this unit on photos (right in 50 % of pairs)"),
        ({"two_choice": math.nan}, {}, {}, "doubt", "the result of the two-choice test is not finite"),
        ({"two_choice": None}, {}, {}, "doubt", "too few for the two-choice test"),
        ({}, {"conv1": 0.1, "conv2": 0.1}, {}, "doubt", "not processed like the photos that excite this unit"),
        ({}, {"conv1": 0.3, "conv2": 0.3}, {}, "trust", "processed only a little like the photos that excite this unit"),
        ({}, {"conv1": 0.9, "conv2": 0.1, "logits": 0.7}, {}, "trust", "from logits on"),
        ({}, {"conv1": 0.9, "conv2": 0.8, "logits": 0.4}, {}, "trust", "in 2 of 3 layers, processed like the photos that excite this unit"),
        ({}, {"conv1": None, "logits": None}, {}, "doubt", "cannot be compared"),
        ({}, {"conv1": math.nan, "logits": None}, {}, "doubt", "cannot be compared"),
        ({"score": math.nan}, {}, {"a": (0.9, 1.0)}, "unknown", "the unit's value for the picture is not finite"),
        ({"score": math.inf}, {}, {}, "unknown", "the unit's value for the picture is not finite"),
    ],
)  # fmt: skip
def test_words(
    changes: dict[str, float | str | None],
    path: dict[str, float | None],
    judges: dict[str, tuple[float, float]],
    level: Verdict,
    said: str,
) -> None:
    faithful = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    found, reasons = verdict(faithful, path or PATH, judges, 1000)
    assert found == level
    assert said in "; ".join(reason.text for reason in reasons)


def test_one_photo_is_too_few() -> None:
    only = verdict({"score": 3.0, "photo_percentile": 100.0}, PATH, {}, 1)[1]
    assert "scores higher than the only photo" in {reason.text for reason in only}
    reasons = verdict({"score": 3.0, "photo_multiple": 0.4}, PATH, {}, 1)[1]
    assert {"1 photo is too few for the two-choice test", "scores 0.4 times the best of 1 photo"} <= {
        reason.text for reason in reasons
    }


def test_few_photos_are_a_doubt() -> None:
    assert verdict({**GOOD, "two_choice": 0.5}, PATH, {}, 499)[0] == "doubt"
    assert verdict({**GOOD, "two_choice": 0.5}, PATH, {}, 500)[0] == "distrust"


def test_without_values_of_photos_nothing_is_known() -> None:
    assert verdict(GOOD, PATH, {}, 0) == ("unknown", [("the unit's value is not finite for any photo", "")])
    assert verdict(GOOD, PATH, {}, 0, "it compares with a photo") == ("unknown", [("it compares with a photo", "")])


def test_a_neuron_of_one_place_is_not_compared_by_features() -> None:
    level, reasons = verdict({**GOOD, "two_choice": 0.1}, {"conv1": -2.0}, {}, 1000, local=True)
    assert level == "doubt"
    assert reasons[0].text == "a neuron at a single position, whose features cannot be compared with those of photos"


def test_what_speaks_against_a_picture_comes_first() -> None:
    _, reasons = verdict({**GOOD, "two_choice": 0.4, "photo_multiple": 0.1}, PATH, {}, 1000)
    assert reasons[0].text.startswith("does not show")
    assert reasons[1].text.startswith("scores 0.1")
    told = Evidence("a", "a", verdict="distrust", reasons=[r.text for r in reasons], brief=reasons[0].brief)
    assert told.sentence().startswith("not trusted: does not show")
    assert told.caption() == "not trusted: right in 40 %"


def test_few_photos_may_all_be_of_something_else() -> None:
    rare = {**GOOD, "activation_frequency": 0.0, "photo_multiple": 9.0}
    level, reasons = verdict(rare, PATH, {}, 2)
    assert level == "doubt"
    assert any("hardly any photo excites this unit" in reason.text for reason in reasons)
    assert verdict(rare, PATH, {}, 500)[0] == "distrust"


@pytest.mark.parametrize(
    ("changes", "path", "judges", "photos", "brief"),
    [
        ({}, PATH, {}, 1000, "right in 97 %"),
        ({"two_choice": 0.9169, "photo_multiple": 3.5}, PATH, {}, 1000, "right in 91.7 %"),
        ({"activation_frequency": 0.004, "photo_multiple": 3.5}, PATH, {}, 1000, "0.4 % excite it"),
        ({"photo_multiple": 0.38}, PATH, {}, 1000, "x0.38"),
        ({"two_choice": None}, PATH, {}, 48, "too few photos"),
        ({}, {"conv1": 0.12}, {}, 1000, "path 0.12"),
        ({}, PATH, {"a": (0.9, 1.0), "b": (0.2, 7.0)}, 1000, "judges disagree"),
        ({}, PATH, {"b": (0.2, 7.0)}, 1000, "p 0.20"),
    ],
)
def test_the_first_reason_is_what_a_verdict_rests_on(
    changes: dict[str, float | None],
    path: dict[str, float | None],
    judges: dict[str, tuple[float, float]],
    photos: int,
    brief: str,
) -> None:
    faithful = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    assert verdict(faithful, path, judges, photos)[1][0].brief == brief


def test_a_number_is_rounded_from_what_the_file_holds() -> None:
    """The file, and so the page's table, has 3.465, which is 3.46 in three digits (the float is below); 3.4650004 would be 3.47."""
    _, reasons = verdict({**GOOD, "photo_multiple": 3.4650004}, PATH, {}, 1000)
    assert reasons[1].text.startswith("scores 3.46 times")
