"""Objectives between two objectives."""

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Objective
from lightning_fv.objectives.facets import MAX_FACETS, Facets


def interpolation(first: Objective, last: Objective, count: int) -> list[Objective]:
    """Targets from one objective to another: ``(1 - t) * first + t * last`` for ``count`` equal steps of t from 0 to 1
    (``channel_interpolate`` in lucid/optvis/objectives.py).

    So that neighbours show the same things at the same places, render them with `lightning_fv.parameterizations.Shared`, as one group
    of ``count`` pictures, which stay in one job:

        render("demo", interpolation(Logit(11), Logit(3), 6), parameterization=Shared(6))

    Args:
        first, last: of comparable size, such as two classes or two channels of a layer.
        count: how many, 2 to 64, with the two of them.

    Raises:
        TargetError: the count is something else, or one of them is no objective or several pictures.
    """
    for end in (first, last):
        if not isinstance(end, Objective) or isinstance(end, Facets):
            raise TargetError(f"interpolation needs two objectives, not {end!r}")
    if not 2 <= count <= MAX_FACETS:
        raise TargetError(f"an interpolation has 2 to {MAX_FACETS} pictures, not {count}")
    weights = [number / (count - 1) for number in range(1, count - 1)]
    return [first, *((1 - weight) * first + weight * last for weight in weights), last]
