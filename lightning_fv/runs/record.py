"""The manifest: one line of JSON per target."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from lightning_fv.runs.files import write_text_atomic

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

    def to_json(self) -> str:
        """One line, without the newline."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=False)


def write_manifest(path: Path, records: Sequence[Record]) -> None:
    """Write records atomically, one line each."""
    write_text_atomic(path, "".join(record.to_json() + "\n" for record in records))


def read_manifest(path: Path) -> list[Record]:
    """The records of a manifest file."""
    return [Record(**json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]
