"""A channel of a layer."""

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import LOGITS, Activations
from lightning_fv.objectives.unit import Unit, UnitObjective, mean_over_map, pick


class Channel(UnitObjective):
    """Mean activation of a channel over its map (Olah et al. 2017, Figure "Different optimization objectives").

    Args:
        layer: layer name; its output is (B, C) or (B, C, H, W).
        unit: channel index, or one per image.

    Raises:
        TargetError: the layer is ``logits``; a class is a `Logit`.
    """

    kind = "channel"

    def __init__(self, layer: str, unit: Unit) -> None:
        if layer == LOGITS:
            raise TargetError(f"Channel({layer!r}, {unit!r}) is the logit of a class; write Logit({unit!r})")
        super().__init__(layer, unit)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return mean_over_map(pick(activations[self.layer], self.unit))
