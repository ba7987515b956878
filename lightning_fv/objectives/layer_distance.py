"""Distance from the picture that a render starts from, in a layer's activations."""

from torch import Tensor

from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.penalty import LayerPenalty
from lightning_fv.objectives.photo import Photo, compared


class LayerDistance(LayerPenalty):
    """How far a picture has moved from the one that it started from: with a layer's activations a for the picture and s
    for the start, the mean over positions of ``|a - s|`` divided by that of ``|s|``.

    The regularizer of feature accentuation (Hamblin et al. 2024, "Feature Accentuation"), which keeps a photo recognizable while a unit
    is excited more strongly. There it is an absolute distance, scaled once, at the first step, by the ratio of the gradient
    magnitudes. Here it is relative and, like all penalties that read activations, multiplied by the current objective: for a positive
    objective o, the step follows the gradient of o - o w d with the factor o held constant, which is the gradient direction of
    log(o) - w d.

    Args:
        layer: layer name.
        weight: w. A distance of 1, which is that of zero activations, offsets an increase of log(o) by w.
    """

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        return frozenset({(self.layer, None)})

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found, start = compared(activations, self.layer, None)
        distance: Tensor = (found - start).norm(dim=1).mean(1) / start.norm(dim=1).mean(1).clamp(min=1e-6)
        return self.weight * distance
