"""The manifest: one line of JSON per target."""

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from lightning_fv.runs.digests import digest, file_digest
from lightning_fv.runs.files import read_file, write_text_atomic

Status: TypeAlias = Literal["done", "dead", "diverged", "partial", "failed", "pending"]


@dataclass
class Record:
    """The result for one target.

    Attributes:
        id: file-safe name, unique in the run.
        target: the target as a user writes it.
        network: name of the network.
        status: ``done``; ``dead``, the unit gave 0 and no gradient; ``diverged``, values repeatedly became NaN or
            infinite, and the picture is the last finite one; ``partial``, stopped before its last step;
            ``failed``, its job ended with an ``error``; ``pending``, not started.
        score: the unit's value on the plain picture, without transforms and penalties; None if it is not finite.
        image: path of the picture relative to the run folder; None if there is none.
        size: [height, width] of the picture in pixels.
        steps: optimizer steps done.
        seed: the run's seed.
        seconds: wall time of the target's job divided by its number of pictures.
        scores: further numbers about the picture, by name.
        error: why its job failed, in one line.
        unit: of one of several pictures of a target, the target without its number, ``logits:pizza`` of ``logits:pizza #2``;
            None of the only one.
        facet: its number, from 1; None of the only one.
        digest: BLAKE2b of the record, without its ``seconds``, and of its picture's file, by `sign`; None if it is not signed.
    """

    id: str
    target: str
    network: str
    status: Status
    score: float | None
    image: str | None
    size: list[int]
    steps: int
    seed: int
    seconds: float
    scores: dict[str, float | str] = field(default_factory=dict)
    error: str | None = None
    unit: str | None = None
    facet: int | None = None
    digest: str | None = None

    def to_json(self) -> str:
        """One line, without the newline."""
        return _json(vars(self))

    def reproducible(self) -> dict[str, Any]:
        """What the same job gives again, bit for bit, as JSON values by name: all but ``seconds`` and ``digest``."""
        return {name: value for name, value in vars(self).items() if name not in ("seconds", "digest")}

    def sign(self, picture: str = "") -> None:
        """Note the digest of the record as it is and of its picture, so that a change of either is found.

        Args:
            picture: digest of the bytes of the picture's file; empty without a picture.
        """
        self.digest = digest(_json(self.reproducible()).encode(), picture.encode())

    def is_intact(self, folder: Path) -> bool:
        """Whether record and picture are those that were signed. The picture is read only if it has been touched.

        Args:
            folder: what ``image`` is relative to.
        """
        now = dataclasses.replace(self)
        try:
            now.sign("" if self.image is None else file_digest(folder / self.image))
        except OSError:  # missing, or not a file
            return False
        return self.digest == now.digest


def write_manifest(path: Path, records: Sequence[Record]) -> None:
    """Write records atomically, one line each."""
    write_text_atomic(path, "".join(record.to_json() + "\n" for record in records))


def read_manifest(path: Path) -> list[Record]:
    """The records of a manifest file.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        ValueError: it does not hold records.
    """
    return [_parse(line) for line in read_file(path).decode("utf-8").split("\n") if line]


def _parse(line: str) -> Record:
    try:
        values = json.loads(line, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("a line is nested too deeply") from None
    if not isinstance(values, dict) or not _REQUIRED <= values.keys() <= _FIELDS:
        raise ValueError("a line is not a record of this version")
    wrong = [name for name, value in values.items() if not _VALID[name](value)]
    if wrong:
        raise ValueError(f"a record has no valid {wrong[0]}")
    return Record(**values)


def _json(values: dict[str, object]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    with contextlib.suppress(UnicodeEncodeError):  # JSON can spell half of a surrogate pair
        return value.encode() is not None
    return False


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold."""
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return isinstance(value, float) and math.isfinite(value)


def _is_image(value: object) -> bool:
    """Whether a value is a path that stays below the folder it is relative to."""
    return _is_text(value) and bool(value) and _stays_below(str(value))


def _stays_below(path: str) -> bool:
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and "\\" not in path and "\0" not in path


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)


def _is_scores(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_text(name) and (_is_text(score) or _is_number(score)) for name, score in value.items()
    )


def _or_none(valid: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or valid(value)


_VALID: dict[str, Callable[[object], bool]] = {
    "id": lambda value: _is_image(value) and "/" not in str(value),  # file names are made from it
    "target": _is_text,
    "network": _is_text,
    "status": lambda value: isinstance(value, str) and value in get_args(Status),
    "score": _or_none(_is_number),
    "image": _or_none(_is_image),
    "size": _is_size,
    "steps": _is_whole,
    "seed": _is_whole,
    "seconds": _is_number,
    "scores": _is_scores,
    "error": _or_none(_is_text),
    "unit": _or_none(_is_text),
    "facet": _or_none(_is_whole),
    "digest": _or_none(_is_text),
}
_FIELDS = {field.name for field in dataclasses.fields(Record)}
_REQUIRED = _FIELDS - {"scores", "error", "unit", "facet", "digest"}
