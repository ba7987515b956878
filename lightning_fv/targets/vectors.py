"""Targets whose vectors are in files: ``vector:FILE:ROW@LAYER``."""

import re
from collections.abc import Iterator
from pathlib import Path

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Direction
from lightning_fv.objectives.direction import read_vectors

_VECTOR = re.compile(r"vector:(?P<file>.+?\.(?:npy|safetensors))(?::(?P<rows>[^@]+))?@(?P<layer>[^@]+)")


def parse_vectors(text: str) -> list[Direction]:
    """The directions of a text: of a vector in a file, or of rows of a file of several.

    Args:
        text: ``vector:cat.npy@layer4``, ``vector:concepts.safetensors:3@layer4``, and for several rows ``:0-7``, ``:0,3`` or ``:all``.

    Raises:
        TargetError: it cannot be parsed, or the file cannot be read.
    """
    match = _VECTOR.fullmatch(text)
    if match is None:
        raise TargetError(
            f"cannot read the target {text[:200]!r}; write vector:FILE@LAYER, or vector:FILE:ROW@LAYER for a row of several, FILE "
            "ending in .npy or .safetensors"
        )
    if match["rows"] is None:
        return [Direction(match["layer"], match["file"])]
    count = len(read_vectors(Path(match["file"])))
    return [Direction(match["layer"], match["file"], row) for row in dict.fromkeys(_rows(match["rows"], count))]


def _rows(text: str, count: int) -> Iterator[int]:
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?\s*", part)
        if part.strip() == "all":
            yield from range(count)
        elif bounds is None:
            raise TargetError(f"rows are numbers, ranges or all, not {part.strip()[:50]!r}")
        else:
            last = int(bounds[2] or bounds[1])
            # Of a range beyond the end the last row is asked for first, so that it is named.
            yield from range(int(bounds[1]), last + 1) if last < count else [last]
