"""Weighted sums of targets: ``sum(0.5*layer4:12 - 0.3*layer4:40)``."""

import functools
import operator
from collections.abc import Callable, Sequence

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Facets, Objective
from lightning_fv.targets.grammar import Spec, WeightedSum


def combined(spec: WeightedSum, resolve: Callable[[Spec], Sequence[Objective]]) -> Objective:
    """The objective of a weighted sum.

    Args:
        spec: as written.
        resolve: the objectives of a target as written.

    Raises:
        TargetError: a term is no target, or stands for several.
    """
    parts: list[Objective] = []
    for weight, term in spec.terms:
        objectives = [term] if isinstance(term, Objective) else resolve(term)
        several = isinstance(term, Facets) or (isinstance(term, Spec) and term.facets > 1)
        if several or len(objectives) != 1:
            raise TargetError(f"{spec}: {term} stands for several pictures; a term of a sum is one unit")
        parts.append(weight * objectives[0])
    return functools.reduce(operator.add, parts)
