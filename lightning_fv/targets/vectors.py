"""Targets whose vectors are in files: ``vector:FILE:ROW@LAYER``."""

import re
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
    return [Direction(match["layer"], match["file"], row) for row in parse_indices(match["rows"], count, "rows")]


def parse_indices(text: str, count: int, what: str) -> list[int]:
    """Indices as a target gives them, ``3``, ``0-7``, ``0,3`` or ``all``, each once.

    Args:
        text: the part of the target.
        count: how many there are. Of a range beyond the end only the last is returned, so that it is named as missing.
        what: names them in messages: ``rows``.

    Raises:
        TargetError: it cannot be parsed.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?\s*", part)
        if part.strip() == "all":
            found |= dict.fromkeys(range(count))
        elif bounds is None:
            raise TargetError(f"{what} are numbers, ranges or all, not {part.strip()[:50]!r}")
        else:
            first, last = int(bounds[1]), int(bounds[2] or bounds[1])
            if first > last:
                raise TargetError(f"{what} {first}-{last}: {first} comes after {last}; write {last}-{first}")
            if last >= count:
                return [last]
            found |= dict.fromkeys(range(first, last + 1))
    return list(found)
