"""The verdict on a picture, in plain words, from stated thresholds."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lightning_fv.runs.evidence import Verdict, rounded

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


class Reason(NamedTuple):
    """Something that is said for or against a picture.

    Attributes:
        text: as a part of a sentence.
        brief: for a caption: the number, or two or three words.
    """

    text: str
    brief: str


def verdict(
    faithful: Mapping[str, float | str],
    path: Mapping[str, float | None],
    judges: Mapping[str, tuple[float, float]],
    photos: int,
    missing: str = "",
    local: bool = False,
) -> tuple[Verdict, list[Reason]]:
    """The verdict and its reasons; the first is what it rests on.

    Args:
        faithful: see `lightning_fv.runs.evidence.Evidence`; may hold numbers that are not finite. They are compared and told as a file
            holds them (`lightning_fv.runs.evidence.rounded`).
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
        return "unknown", [Reason(missing or "the unit's value is not finite for any photo", "")]
    if _number(faithful, "score") is None:
        return "unknown", [Reason("the unit's value for the picture is not finite", "")]
    said = _Said([], [], [])
    if local:
        told = "a neuron at a single position, whose features cannot be compared with those of photos"
        said.doubts.append(Reason(told, "single position"))
    else:
        _by_two_choice(faithful, photos, said)
    _among_photos(faithful, photos, said)
    if not local:
        _by_path(path, said)
    _by_judges(judges, said)
    level: Verdict = "distrust" if said.against else "doubt" if said.doubts else "trust"
    return level, [*said.against, *said.doubts, *said.reasons]


class _Said(NamedTuple):
    against: list[Reason]
    doubts: list[Reason]
    reasons: list[Reason]


def _by_two_choice(faithful: Mapping[str, float | str], photos: int, said: _Said) -> None:
    share = _number(faithful, "two_choice")
    if share is not None:
        brief = f"right in {100 * share:.3g} %"
        if share >= TWO_CHOICE:
            said.reasons.append(Reason(f"predicts which photos excite this unit ({brief} of pairs)", brief))
        else:
            failed = said.against if photos >= ENOUGH else said.doubts
            failed.append(Reason(f"does not show what excites this unit on photos ({brief} of pairs)", brief))
    elif "two_choice" in faithful:
        said.doubts.append(Reason("the result of the two-choice test is not finite", "not finite"))
    else:
        too_few = f"{_photos(photos)} {'is' if photos == 1 else 'are'} too few for the two-choice test"
        said.doubts.append(Reason(too_few, "too few photos"))


def _photos(count: int) -> str:
    return f"{count:,} photo{'s' * (count != 1)}"


def _among_photos(faithful: Mapping[str, float | str], photos: int, said: _Said) -> None:
    multiple, percentile = _number(faithful, "photo_multiple"), _number(faithful, "photo_percentile")
    frequency = _number(faithful, "activation_frequency")
    if frequency is not None and frequency < LEAST_FREQUENCY and (multiple is None or multiple > ABOVE):
        # Few photos may all be of something else.
        failed = said.against if photos >= ENOUGH else said.doubts
        told = "hardly any photo excites this unit, and none nearly as strongly as the picture"
        failed.append(Reason(told, f"{100 * frequency:.3g} % excite it"))
    if multiple is not None:
        told = f"scores {multiple:.3g} times the best of {_photos(photos)}"
        reason = Reason(told, f"x{multiple:.2g}")
        if multiple < 0:
            reason = Reason(f"scores below 0, and the best of {_photos(photos)} above it", "below 0")
        (said.doubts if multiple < MULTIPLE else said.reasons).append(reason)
    elif percentile is not None:
        every = f"all {_photos(photos)}" if photos > 1 else "the only photo"
        among = every if percentile == 100 else f"{percentile:.3g} % of {_photos(photos)}"
        reason = Reason(f"scores higher than {among}", f"above {percentile:.3g} %")
        (said.doubts if percentile < 50 else said.reasons).append(reason)
    if (bad := _number(faithful, "photos_not_finite")) is not None:
        told = f"the unit's value is not finite for {bad:.0f} of {photos + bad:,.0f} photos"
        said.doubts.append(Reason(told, "not finite"))


def _by_path(path: Mapping[str, float | None], said: _Said) -> None:
    known = {layer: value for layer, value in path.items() if value is not None and math.isfinite(value)}
    if not known:
        said.doubts.append(Reason("how it is processed cannot be compared with photos", "path unknown"))
        return
    mean = sum(known.values()) / len(known)
    brief = f"path {mean:.2g}"
    if mean < PATH:
        said.doubts.append(Reason("not processed like the photos that excite this unit", brief))
        return
    like = None
    for layer in reversed(known):
        if known[layer] < LIKE:
            break
        like = layer
    alike = sum(value >= LIKE for value in known.values())
    told = "processed like the photos that excite this unit"
    told = f"{told} from {like} on" if like else f"in {alike} of {len(known)} layers, {told}"
    said.reasons.append(
        Reason(told if alike else "processed only a little like the photos that excite this unit", brief)
    )


def _by_judges(judges: Mapping[str, tuple[float, float]], said: _Said) -> None:
    for name, (probability, _) in judges.items():
        if not math.isfinite(probability):
            said.doubts.append(Reason(f"the output of {name} is not finite", "not finite"))
    finite = [numbers for numbers in judges.values() if math.isfinite(numbers[0])]
    if not finite:
        return
    agree = sum(probability >= AGREED or rank == 1 for probability, rank in finite)
    listed = ", ".join(f"{probability:.2f}" for probability, _ in finite)
    if agree < len(finite):
        told = f"{len(finite) - agree} of {len(finite)} judges disagree (p {listed})"
        said.doubts.append(Reason(told, "judges disagree" if len(finite) > 1 else f"p {listed}"))
        return
    words = {1: "the judge agrees", 2: "both judges agree"}.get(agree, f"all {agree} judges agree")
    said.reasons.append(Reason(f"{words} (p {listed})", f"p {listed}"))


def _number(values: Mapping[str, float | str], name: str) -> float | None:
    value = values.get(name)
    return rounded(value) if isinstance(value, int | float) and math.isfinite(value) else None
