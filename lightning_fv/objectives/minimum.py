"""The minimum of several objectives."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations, Objective
from lightning_fv.objectives.facets import Facets

if TYPE_CHECKING:
    from lightning_fv.networks import VisionNetwork
    from lightning_fv.objectives.photo import Photo


class Minimum(Objective):
    """The minimum of several objectives for each picture, so that all of them have to increase; the gradient is that of the smallest.

    Useful when several networks all have to respond, such as ``Minimum([Channel("demo", 11), Channel("demo/stylized", 11)])`` with
    the network ``ensemble:demo,demo/stylized``, where a sum could be increased by one of them alone.

    Args:
        objectives: two or more, of comparable magnitude.

    Raises:
        TargetError: there are fewer, or one is no objective.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        items = list(objectives) if isinstance(objectives, Sequence) else [objectives]
        wrong = next((item for item in items if not isinstance(item, Objective) or isinstance(item, Facets)), None)
        if len(items) < 2 or wrong is not None:
            raise TargetError(
                f"Minimum needs a list of two objectives or more, not {objectives if wrong is None else wrong!r}"
            )
        self.objectives = items

    @property
    def layers(self) -> frozenset[str]:
        return frozenset().union(*(objective.layers for objective in self.objectives))

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        return frozenset().union(*(objective.photos for objective in self.objectives))

    @property
    def reads_activations(self) -> bool:
        return any(objective.reads_activations for objective in self.objectives)

    @property
    def multiplies(self) -> bool:
        return any(objective.multiplies for objective in self.objectives)

    def for_network(self, network: VisionNetwork) -> Self:
        bound = copy.copy(self)
        bound.objectives = [objective.for_network(network) for objective in self.objectives]
        return bound

    def for_objectives(self, objectives: Sequence[Objective]) -> Self:
        bound = copy.copy(self)
        bound.objectives = [objective.for_objectives(objectives) for objective in self.objectives]
        return bound

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return torch.stack([objective(activations, images) for objective in self.objectives]).amin(0)

    @property
    def stack_key(self) -> Hashable:
        if type(self) is not Minimum:  # it may compute something else
            return super().stack_key
        return Minimum, tuple(objective.stack_key for objective in self.objectives)

    def stacked(self, objectives: Sequence[Minimum]) -> Objective:
        if type(self) is not Minimum or len(objectives) == 1:
            return self
        columns = zip(*(one.objectives for one in objectives), strict=True)
        return Minimum([column[0].stacked(column) for column in columns])
