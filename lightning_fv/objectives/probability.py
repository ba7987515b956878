"""A class's probability."""

from torch import Tensor

from lightning_fv.objectives.base import LOGITS, Activations
from lightning_fv.objectives.unit import PROBABILITY, Unit, UnitObjective, pick


class Probability(UnitObjective):
    """A class's probability: softmax over the logits, in [0, 1].

    Lowering the logits of other classes raises it too, and its gradient vanishes near 1: Olah et al. (2017) prefer
    logits.

    Args:
        unit: class index, or one per image.
    """

    kind = "probability"
    is_class = True

    def __init__(self, unit: Unit) -> None:
        super().__init__(LOGITS, unit)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return pick(activations[LOGITS].float().softmax(1), self.unit)

    @property
    def _prefix(self) -> str:
        return PROBABILITY
