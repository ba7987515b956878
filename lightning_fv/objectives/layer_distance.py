"""Distance from the picture that a render starts from, in a layer."""

import math

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.objectives.base import Activations, Objective
from lightning_fv.objectives.photo import Photo, compared


class LayerDistance(Objective):
    """How far a picture has moved from the one that it started from, in a layer's activations: with those a of the picture and s
    of the start, the mean over positions of ``|a - s|`` over that of ``|s|``.

    The regularizer of feature accentuation (Hamblin et al. 2024, "Feature Accentuation"), which keeps a photo recognizable while a unit
    is excited more strongly. There it is an absolute distance, multiplied once, at the first step, by the ratio of both
    gradients. Here it is relative, and as all penalties that read activations it is multiplied by the objective of the step:
    for a positive objective o, o - o w d is climbed with the factor o held fixed, which is the direction in which log(o) - w d rises.

    Args:
        layer: layer name.
        weight: w. A distance of 1, which is that of activations of 0, is worth w times a growth of the objective by the factor e.
    """

    def __init__(self, layer: str, weight: float = 1.0) -> None:
        if not math.isfinite(weight):
            raise UsageError(f"LayerDistance needs a finite weight, got {weight}")
        self.layer, self.weight = layer, float(weight)

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        return frozenset({(self.layer, None)})

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found, start = compared(activations, self.layer, None)
        distance: Tensor = (found - start).norm(dim=1).mean(1) / start.norm(dim=1).mean(1).clamp(min=1e-6)
        return self.weight * distance
