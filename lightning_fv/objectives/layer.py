"""A whole layer."""

from torch import Tensor

from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.unit import UnitObjective, pick


class Layer(UnitObjective):
    """Mean square of a layer's whole output (DeepDream, Mordvintsev et al. 2015).

    Args:
        layer: layer name.
    """

    kind = "layer"

    def __init__(self, layer: str) -> None:
        super().__init__(layer, None)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return pick(activations[self.layer], None).flatten(1).square().mean(1)
