"""A class's logit."""

from torch import Tensor

from lightning_fv.objectives.base import LOGITS, Activations
from lightning_fv.objectives.unit import Unit, UnitObjective, mean_over_map, pick


class Logit(UnitObjective):
    """A class's logit: the network's output before the softmax.

    Args:
        unit: class index, or one per image.
    """

    kind = "logit"
    is_class = True

    def __init__(self, unit: Unit) -> None:
        super().__init__(LOGITS, unit)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return mean_over_map(pick(activations[LOGITS], self.unit))
