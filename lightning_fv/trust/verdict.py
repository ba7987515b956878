"""The verdict on a picture, in plain words, from stated thresholds."""

import math
from collections.abc import Mapping

from lightning_fv.runs.evidence import Verdict

PATH = 0.2
"""Below this, in the mean over layers, the path of a picture is called that of other photos than those that excite its unit."""

LIKE = 0.5
"""From this on the path in a layer is called like that of photos that excite the unit."""

TWO_CHOICE = 0.92
"""Below this share of right answers a picture is not of what excites its unit on photos (0.5 is chance). Chosen in docs/trust.md."""

ENOUGH = 500
"""With fewer photos the two-choice test fails too often by chance, so that failing it only makes a picture doubtful."""

LEAST_FREQUENCY, ABOVE = 0.02, 2.0
"""A unit is silent on photos if less than the share `LEAST_FREQUENCY` of them excite it and its picture scores more than `ABOVE` times the best
of them, or the best is not above 0."""

MULTIPLE = 0.5
"""A picture that scores less than this multiple of the best photo does not show what the unit responds to most."""

AGREED = 0.5
"""A judge that gives the class at least this probability, or ranks it first, agrees."""


def verdict(
    faithful: Mapping[str, float | str],
    path: Mapping[str, float | None],
    judges: Mapping[str, tuple[float, float]],
    photos: int,
    missing: str = "",
    local: bool = False,
) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons.

    Args:
        faithful: see `lightning_fv.runs.evidence.Evidence`; may hold numbers that are not finite.
        path: by layer from input to output, the path similarity.
        judges: by network, probability and rank of the picture's class; not finite if the network's output is not.
        photos: number of photos for which the unit's value is known and finite.
        missing: why there is none.
        local: whether the unit is of one position, and its features are not compared with those of photos, which are means over positions.

    Returns:
        ``distrust`` if the picture shows something that does not activate the unit on photos; ``doubt`` if the evidence is mixed, or part of it is missing;
        ``trust`` if nothing speaks against it; ``unknown`` if the picture's value or those of photos are not known.
    """
    if missing or not photos:
        return "unknown", [missing or "the unit's value is not finite for any photo"]
    if _number(faithful, "score") is None:
        return "unknown", ["the unit's value for the picture is not finite"]
    against: list[str] = []
    doubts: list[str] = []
    reasons: list[str] = []
    _among_photos(faithful, photos, against, doubts, reasons)
    if local:
        doubts.append("a neuron at a single position, whose features cannot be compared with those of photos")
    else:
        _by_features(faithful, path, photos, against, doubts, reasons)
    _by_judges(judges, doubts, reasons)
    level: Verdict = "distrust" if against else "doubt" if doubts else "trust"
    return level, [*against, *doubts, *reasons]


def _among_photos(
    faithful: Mapping[str, float | str], photos: int, against: list[str], doubts: list[str], reasons: list[str]
) -> None:
    multiple, percentile = _number(faithful, "photo_multiple"), _number(faithful, "photo_percentile")
    frequency = _number(faithful, "activation_frequency")
    if frequency is not None and frequency < LEAST_FREQUENCY and (multiple is None or multiple > ABOVE):
        # Few photos may all be of something else.
        failed = against if photos >= ENOUGH else doubts
        failed.append("hardly any photo excites this unit, and none nearly as strongly as the picture")
    if multiple is not None:
        said = f"scores {multiple:.3g} times the best of {photos:,} photos"
        (doubts if multiple < MULTIPLE else reasons).append(said)
    elif percentile is not None:
        (doubts if percentile < 50 else reasons).append(f"above {percentile:.4g} % of {photos:,} photos")
    if (bad := _number(faithful, "photos_not_finite")) is not None:
        doubts.append(f"the unit's value is not finite for {bad:.0f} of {photos + bad:,.0f} photos")


def _by_features(
    faithful: Mapping[str, float | str],
    path: Mapping[str, float | None],
    photos: int,
    against: list[str],
    doubts: list[str],
    reasons: list[str],
) -> None:
    known = {layer: value for layer, value in path.items() if value is not None and math.isfinite(value)}
    if known and sum(known.values()) / len(known) < PATH:
        doubts.append("its path through the network is not that of the photos that excite this unit")
    elif known:
        like = None
        for layer in reversed(known):
            if known[layer] < LIKE:
                break
            like = layer
        alike = sum(value >= LIKE for value in known.values())
        where = f"from {like} on" if like else f"in {alike} of {len(known)} layers"
        reasons.append(
            f"path like that of its photos {where}" if alike else "path only a little like that of its photos"
        )
    else:
        doubts.append("its path through the network cannot be compared with that of photos")
    share = _number(faithful, "two_choice")
    if share is not None:
        if share >= TWO_CHOICE:
            reasons.append(f"predicts which photos excite this unit (right in {share:.0%} of pairs)")
        else:
            failed = against if photos >= ENOUGH else doubts
            failed.append(f"does not show what excites this unit on photos (right in {share:.0%} of pairs)")
    elif "two_choice" in faithful:
        doubts.append("the result of the two-choice test is not finite")
    else:
        doubts.append(f"{photos:,} photos are too few for the two-choice test")


def _by_judges(judges: Mapping[str, tuple[float, float]], doubts: list[str], reasons: list[str]) -> None:
    for name, (probability, _) in judges.items():
        if not math.isfinite(probability):
            doubts.append(f"the output of {name} is not finite")
    finite = [numbers for numbers in judges.values() if math.isfinite(numbers[0])]
    if not finite:
        return
    agree = sum(probability >= AGREED or rank == 1 for probability, rank in finite)
    listed = ", ".join(f"{probability:.2f}" for probability, _ in finite)
    if agree < len(finite):
        doubts.append(f"{len(finite) - agree} of {len(finite)} judges disagree (p {listed})")
        return
    words = {1: "the judge agrees", 2: "both judges agree"}.get(agree, f"all {agree} judges agree")
    reasons.append(f"{words} (p {listed})")


def _number(values: Mapping[str, float | str], name: str) -> float | None:
    value = values.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None
