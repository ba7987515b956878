"""What is known about how far a picture can be trusted: one line of JSON per picture."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from lightning_fv.runs.files import read_file, write_text_atomic

Verdict: TypeAlias = Literal["trust", "doubt", "distrust", "unknown"]

DIGITS = 6
"""Significant digits of numbers in the file: more would differ between processors."""

NOT_FINITE = "not finite"
"""Written instead of NaN and infinity."""

WORDS: dict[Verdict, str] = {
    "trust": "trusted",
    "doubt": "doubtful",
    "distrust": "not trusted",
    "unknown": "no verdict",
}
"""What is said of a verdict, everywhere."""

EVENT_SUFFIX = ".evidence"
"""Suffix of the name of the TensorBoard event file in the run folder that shows the evidence."""


@dataclass(frozen=True)
class Example:
    """A photo that a unit responds to strongly or weakly.

    Attributes:
        photo: its name, relative to the folder of photos.
        value: the unit's value.
        file: its thumbnail, relative to the run folder.
        crop: what the unit saw of it: left, top, right, bottom as shares of the sides.
    """

    photo: str
    value: float
    file: str
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass
class Evidence:
    """How far one picture can be trusted.

    Two groups of measures that are never combined into one score: what the unit does, and what looks natural to us or to other networks.

    Attributes:
        id: of the picture's record.
        target: the target as a user writes it.
        faithful: numbers about what the unit does: its score among photos, under transforms, under other seeds; what the picture tells of it.
        plausible: numbers about what looks natural: spectrum, other networks.
        path: by layer, how similar the picture's way through the network is to that of photos of its class or that excite the unit: 1 as such
            photos, 0 as other photos; None if it is not defined.
        examples: the photos that excite the unit most, the strongest first.
        least: photos that excite it least.
        verdict: ``trust``; ``doubt``, some evidence is against it or missing; ``distrust``, the unit does something else on photos; ``unknown``, there is
            too little evidence.
        reasons: why, in plain words, beginning with what the verdict rests on.
        brief: the first of them for a caption: a number, or two or three words.
        photos: name of the folder of photos.
        photo_count: photos that the network's responses are known for.
        judges: names of the other networks that looked at it.
        made_from: digest of everything that it was made from, so that it is made again if that has changed.
        digest: that of the picture's record (`Record.digest`): it is not shown with another picture of the same target.
    """

    id: str
    target: str
    faithful: dict[str, float | str] = field(default_factory=dict)
    plausible: dict[str, float | str] = field(default_factory=dict)
    path: dict[str, float | None] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    least: list[Example] = field(default_factory=list)
    verdict: Verdict = "unknown"
    reasons: list[str] = field(default_factory=list)
    brief: str = ""
    photos: str = ""
    photo_count: int = 0
    judges: list[str] = field(default_factory=list)
    made_from: str = ""
    digest: str | None = None

    def sentence(self) -> str:
        """The verdict and its reasons as one line."""
        return ": ".join([WORDS[self.verdict], *filter(None, ["; ".join(self.reasons)])])

    def caption(self) -> str:
        """The verdict and what it rests on, in a few words."""
        return ": ".join([WORDS[self.verdict], *filter(None, [self.brief])])

    def mean_path(self) -> float | None:
        """Mean of the path similarity over the layers for which it is defined; None if there is none."""
        known = [value for value in self.path.values() if value is not None and math.isfinite(value)]
        return sum(known) / len(known) if known else None

    def to_json(self) -> str:
        """One line, without the newline. Numbers have `DIGITS` significant digits; those that are not finite are text (of a path, null): JSON has none."""
        values: dict[str, Any] = _rounded(dataclasses.asdict(self))
        values["path"] = {layer: None if value == NOT_FINITE else value for layer, value in values["path"].items()}
        return json.dumps(values, allow_nan=False)


def rounded(value: float) -> float:
    """A number as the file holds it, so that what is told beside it is rounded from the same."""
    return float(f"{value:.{DIGITS}g}")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value) if math.isfinite(value) else NOT_FINITE
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def write_evidence(path: Path, evidence: Sequence[Evidence]) -> None:
    """Write evidence atomically, one line each.

    Raises:
        OSError: it cannot be written.
    """
    write_text_atomic(path, "".join(found.to_json() + "\n" for found in evidence))


def read_evidence(path: Path) -> list[Evidence]:
    """The evidence in a file.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        ValueError: it does not hold evidence of this version.
    """
    return [_parse(line) for line in read_file(path).decode("utf-8").split("\n") if line]


def _parse(line: str) -> Evidence:
    try:
        values = json.loads(line)
        for name in ("examples", "least"):
            values[name] = [_example(example) for example in values[name]]
        found = Evidence(**values)
        texts = [
            found.id,
            found.target,
            found.brief,
            found.photos,
            found.made_from,
            found.digest or "",
            *found.reasons,
            *found.judges,
        ]
        named = {**found.faithful, **found.plausible}
        numbers = [*named.values(), *(value for value in found.path.values() if value is not None)]
        "".join([*texts, *named, *found.path]).encode()  # JSON can spell half of a surrogate pair
        valid = all(map(_is_number_or_text, numbers)) and type(found.photo_count) is int
    except (RecursionError, TypeError, KeyError, AttributeError, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(f"a line is no evidence of this version ({error})") from None
    if found.verdict not in get_args(Verdict) or not valid:
        raise ValueError("a line is no evidence of this version")
    return found


def _is_number_or_text(value: object) -> bool:
    return isinstance(value, str) or (type(value) in (int, float) and math.isfinite(value))  # type: ignore[arg-type]


def _example(values: Mapping[str, object]) -> Example:
    photo, value, file, crop = values["photo"], values["value"], values["file"], values["crop"]
    if not (isinstance(photo, str) and isinstance(file, str) and isinstance(crop, list)):
        raise TypeError("an example has other values")
    if not (isinstance(value, int | float) and math.isfinite(value)) or not all(
        isinstance(side, int | float) and 0 <= side <= 1 for side in crop
    ):
        raise TypeError("an example has other numbers")
    if {"", ".", ".."} & set(file.split("/")) or "\\" in file or "\0" in file:
        raise TypeError("an example's file is outside of the run folder")
    left, top, right, bottom = map(float, crop)
    return Example(photo.encode(errors="replace").decode(), float(value), file, (left, top, right, bottom))
