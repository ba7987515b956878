"""A unit at one token of a sequence."""

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.unit import Unit, UnitObjective, pick


class Token(UnitObjective):
    """Activation of a channel at one token of a transformer's sequence.

    The tokens of a ViT are its patches, row by row, after the class token if there is one (token 0 in torchvision's ViTs and most of
    timm's). A picture of another size has a different sequence; the token with the same index is read.

    Args:
        layer: layer name; its output is (B, C, T), which `VisionNetwork.activations` makes of a transformer's (B, T, C).
        unit: channel index, or one per image.
        token: index in the sequence, counted from 0.

    Raises:
        TargetError: the token is negative.
    """

    kind = "token"

    def __init__(self, layer: str, unit: Unit, token: int) -> None:
        if token < 0:
            raise TargetError(f"tokens start at 0, got {token}")
        super().__init__(layer, unit, (token,))
        self.token = token

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return pick(activations[self.layer], self.unit)[:, self.token]
