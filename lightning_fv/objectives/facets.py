"""Several pictures of one objective."""

from __future__ import annotations

import re
from numbers import Integral
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations, Objective, Term

if TYPE_CHECKING:
    from lightning_fv.objectives.photo import Photo

MAX_FACETS = 64
"""Most pictures of one unit. They are rendered in one job, which an interruption costs at most."""

FACETS = re.compile(r"(.*\S)\s+x([0-9]+)", re.DOTALL)
"""A target's text with a number of pictures: ``layer4:12 x4``."""


class Facets(Objective):
    """Several pictures of one objective, as ``logits:pizza x4`` is of a unit: a target, not a term of a sum.

    Each picture starts from other noise and sees other transforms; with `lightning_fv.optimization.diversity.Diversity` they
    are also kept from looking alike. The name is that of Nguyen et al. (2016), "Multifaceted Feature Visualization".

    >>> from lightning_fv.objectives import Logit
    >>> Facets(Logit(11) - Logit(12), 4)
    Facets(Logit(11) - Logit(12), 4)

    Args:
        objective: what each picture maximises.
        count: how many pictures, 1 to 64.

    Raises:
        TargetError: the count is something else, or the objective is none or has a number of pictures itself.
    """

    def __init__(self, objective: Objective, count: int) -> None:
        if not isinstance(objective, Objective) or isinstance(objective, Facets):
            raise TargetError(f"Facets needs an objective and a number of pictures, not {objective!r}")
        self.objective, self.count = objective, check_facets(count, repr(objective))

    @property
    def layers(self) -> frozenset[str]:
        return self.objective.layers

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        return self.objective.photos

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return self.objective(activations, images)

    def _terms(self) -> tuple[Term, ...]:
        raise TargetError(f"{self!r} is {self.count} pictures, not a number; write Facets(a - b, {self.count}) instead")


def check_facets(count: object, target: str) -> int:
    """A number of pictures of a target, if it is one from 1 to `MAX_FACETS`.

    Args:
        count: any object.
        target: names it in the message.

    Raises:
        TargetError: it is something else.
    """
    if not isinstance(count, Integral) or not 1 <= int(count) <= MAX_FACETS:
        raise TargetError(f"{target}: a target has 1 to {MAX_FACETS} pictures, not {count}")
    return int(count)
