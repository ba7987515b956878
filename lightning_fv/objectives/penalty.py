"""Penalties on the picture itself: at least 0, to be subtracted."""

import torch
from torch import Tensor

from lightning_fv.objectives.base import Activations, Objective


class Penalty(Objective):
    """An objective of the picture alone, >= 0; the visualizer subtracts it. Subclasses say what it measures.

    Args:
        weight: factor, in units of the objective.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    @property
    def layers(self) -> frozenset[str]:
        return frozenset()

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return self.weight * self.measure(images)

    def measure(self, images: Tensor) -> Tensor:
        """The unweighted penalty of (B, 3, H, W) pictures in [0, 1]: (B,), >= 0."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.weight == 1.0 else repr(self.weight)})"


class L1(Penalty):
    """Mean absolute distance to a grey: ``mean |x - center|``.

    The study adds it inside an argmax, which would reward distance from grey; it is subtracted here.

    Args:
        weight: factor (0.5 in the study).
        center: the grey, in [0, 1].
    """

    def __init__(self, weight: float = 1.0, center: float = 0.5) -> None:
        super().__init__(weight)
        self.center = center

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).abs().flatten(1).mean(1)

    def __repr__(self) -> str:
        return super().__repr__() if self.center == 0.5 else f"L1({self.weight!r}, center={self.center!r})"


class L2(Penalty):
    """Mean squared distance to a grey: ``mean (x - center)^2``.

    Args:
        weight: factor.
        center: the grey, in [0, 1].
    """

    def __init__(self, weight: float = 1.0, center: float = 0.5) -> None:
        super().__init__(weight)
        self.center = center

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).square().flatten(1).mean(1)

    def __repr__(self) -> str:
        return super().__repr__() if self.center == 0.5 else f"L2({self.weight!r}, center={self.center!r})"


class TotalVariation(Penalty):
    """Sum of absolute differences between neighbours (anisotropic; Rudin et al. 1992), over the number of values.

    Args:
        weight: factor.
    """

    def measure(self, images: Tensor) -> Tensor:
        from torchmetrics.functional.image import total_variation  # here: it takes half a second to import

        variation: Tensor = total_variation(images, reduction="none")
        return variation / torch.tensor(images[0].numel(), dtype=images.dtype)
