"""The verdict on a picture, in plain words, from stated thresholds."""

import math
from collections.abc import Mapping

from lightning_fv.runs.evidence import Verdict

PATH = 0.2
"""Below this the path of a picture is that of other photos than those that excite its unit. See docs/trust.md for how it was chosen."""

TWO_CHOICE = 0.6
"""Below this share of right answers a picture does not tell which photos excite its unit (0.5 is chance)."""

MULTIPLE = 0.5
"""Below this times the best photo, the picture does not show what the unit responds to most."""

AGREED = 0.5
"""A judge that gives the class at least this probability, or ranks it first, agrees."""


def verdict(
    faithful: Mapping[str, float | str],
    path: Mapping[str, float | None],
    judges: Mapping[str, tuple[float, float]],
    photos: int,
) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons.

    Args:
        faithful: see `lightning_fv.runs.evidence.Evidence`.
        path: by layer from input to output, the path similarity.
        judges: by network, probability and rank of the picture's class.
        photos: number of photos that the picture was compared with.

    Returns:
        ``distrust`` if the picture is of something that the unit does not do on photos; ``doubt`` if the evidence is mixed; ``trust`` if nothing speaks
        against it; ``unknown`` without photos.
    """
    against: list[str] = []
    doubts: list[str] = []
    reasons: list[str] = []
    multiple, seldom = _number(faithful, "photo_multiple"), "photos" in faithful
    percentile, share = _number(faithful, "photo_percentile"), _number(faithful, "two_choice")
    known = [value for value in path.values() if value is not None and math.isfinite(value)]
    if seldom:
        against.append(
            "no photo excites this unit as the picture does"
            if multiple is None or multiple > 1
            else "hardly any photo excites this unit"
        )
    if multiple is not None:
        said = f"fires {multiple:.2g} times the best of {photos:,} photos"
        (doubts if multiple < MULTIPLE else reasons).append(said)
    elif percentile is not None:
        (doubts if percentile < 50 else reasons).append(f"above {percentile:.4g} % of {photos:,} photos")
    if known and sum(known) / len(known) < PATH:
        against.append("its path through the network is not that of the photos that excite this unit")
    elif known:
        like = next((layer for layer, value in path.items() if value is not None and value >= 0.5), None)
        reasons.append(
            f"path like that of its photos from {like} on" if like else "path only a little like that of its photos"
        )
    if share is not None and share < TWO_CHOICE:
        against.append(f"does not tell which photos excite this unit (right in {share:.0%} of pairs)")
    elif share is not None:
        reasons.append(f"tells which photos excite this unit (right in {share:.0%} of pairs)")
    if judges:
        agree = [name for name, (probability, rank) in judges.items() if probability >= AGREED or rank == 1]
        listed = ", ".join(f"{probability:.2f}" for probability, _ in judges.values())
        if len(agree) == len(judges):
            words = {1: "the judge agrees", 2: "both judges agree"}.get(len(judges), f"all {len(judges)} judges agree")
            reasons.append(f"{words} (p {listed})")
        else:
            doubts.append(f"{len(judges) - len(agree)} of {len(judges)} judges disagree (p {listed})")
    if photos == 0:
        return "unknown", [*doubts, *reasons, "no photos to compare with"]
    level: Verdict = "distrust" if against else "doubt" if doubts else "trust"
    return level, [*against, *doubts, *reasons]


def _number(values: Mapping[str, float | str], name: str) -> float | None:
    value = values.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None
