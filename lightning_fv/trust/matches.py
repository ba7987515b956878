"""Which unit of another network responds to photos as a unit does."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_fv.trust.responses import ROWS, NetworkResponses


class Match(NamedTuple):
    """A unit of another network.

    Attributes:
        stage: its layer.
        unit: its number.
        correlation: of both units' values over photos, in [-1, 1].
    """

    stage: str
    unit: int
    correlation: float


def best_matches(judge: NetworkResponses, values: Sequence[npt.NDArray[np.float32] | None]) -> list[Match | None]:
    """For each unit that of the judge's stages whose mean activation correlates most with its values over photos (Pearson).

    Args:
        judge: the other network, with the same N photos.
        values: (N,) of each unit, or None.

    Returns:
        For each unit its match; None for None, and for values that are not finite or all the same. Units of the judge that are not finite for
        some photo, or the same for all, match nothing.
    """
    best: list[Match | None] = [None] * len(values)
    usable = {
        row: column
        for row, column in enumerate(values)
        if column is not None and np.isfinite(column).all() and column.std() > 0
    }
    if not usable:
        return best
    columns = np.stack(list(usable.values()), 1).astype(np.float64)
    columns = (columns - columns.mean(0)) / columns.std(0)
    for stage in judge.stages:
        mean, std = (part.double().numpy() for part in judge.scale[stage])
        total = np.zeros((len(usable), len(mean)))
        for start in range(0, len(columns), ROWS):
            part = np.asarray(judge.photos.layers[stage][start : start + ROWS], np.float64) - mean
            with np.errstate(invalid="ignore"):  # what is not finite stays so
                total += columns[start : start + ROWS].T @ (part / std)
        correlation = np.where(np.isfinite(total) & np.isfinite(std), total / len(columns), -np.inf)
        for place, row in enumerate(usable):
            unit = int(correlation[place].argmax())
            found, known = float(correlation[place, unit]), best[row]
            if np.isfinite(found) and (known is None or found > known.correlation):
                best[row] = Match(stage, unit, found)
    return best
