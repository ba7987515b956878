"""Base class of penalties on the image itself: at least 0, to be subtracted."""

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
        if not math.isfinite(weight):
            raise UsageError(f"{type(self).__name__} needs a finite weight, got {weight}")
        self.weight = weight

    @property
    def layers(self) -> frozenset[str]:
        return frozenset()

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return self.weight * self.measure(images)

    @abstractmethod
    def measure(self, images: Tensor) -> Tensor:
        """The unweighted penalty of (B, 3, H, W) images in [0, 1]: (B,), >= 0."""
