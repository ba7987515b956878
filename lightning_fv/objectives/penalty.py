"""Base classes of penalties: at least 0, to be subtracted."""

import math
from abc import abstractmethod

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.objectives.base import Activations, Objective


class Penalty(Objective):
    """An objective of the image alone, >= 0; the visualizer subtracts it. Subclasses implement ``measure``.

    Args:
        weight: factor, in units of the objective.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = _finite(self, weight)

    @property
    def layers(self) -> frozenset[str]:
        return frozenset()

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return self.weight * self.measure(images)

    @abstractmethod
    def measure(self, images: Tensor) -> Tensor:
        """The unweighted penalty of (B, 3, H, W) images in [0, 1]: (B,), >= 0."""


class GreyPenalty(Penalty):
    """A penalty that measures from a grey value.

    Args:
        weight: factor, in units of the objective.
        center: the grey value, in [0, 1].
    """

    def __init__(self, weight: float = 1.0, center: float = 0.5) -> None:
        super().__init__(weight)
        if not 0 <= center <= 1:
            raise UsageError(f"{type(self).__name__} needs a center in [0, 1], got {center}")
        self.center = center


class LayerPenalty(Objective):
    """A penalty on the activations of a layer, as a share of the objective reached.

    Args:
        layer: layer name.
        weight: factor.
    """

    def __init__(self, layer: str, weight: float = 1.0) -> None:
        self.layer, self.weight = layer, float(_finite(self, weight))

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))


def _finite(penalty: Objective, weight: float) -> float:
    if not math.isfinite(weight):
        raise UsageError(f"{type(penalty).__name__} needs a finite weight, got {weight}")
    return weight
