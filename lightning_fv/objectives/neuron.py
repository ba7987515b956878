"""A neuron: one position of a channel's map."""

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.unit import Unit, UnitObjective, pick


class Neuron(UnitObjective):
    """Activation at one position of a channel's map.

    Args:
        layer: layer name; its output is (B, C, H, W).
        unit: channel index, or one per image.
        y, x: row and column in the layer's map, counted from 0 at the top left.

    Raises:
        TargetError: a row or column is negative.
    """

    kind = "neuron"

    def __init__(self, layer: str, unit: Unit, y: int, x: int) -> None:
        if min(y, x) < 0:
            raise TargetError(f"a neuron's row and column start at 0, got ({y}, {x})")
        super().__init__(layer, unit, (y, x))
        self.y, self.x = y, x

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return pick(activations[self.layer], self.unit)[:, self.y, self.x]
