"""Padding on every side."""

import math

import torch.nn.functional as F
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import MAX_SIDE
from lightning_fv.transforms.affine import LEVELS, Outside, check_outside
from lightning_fv.transforms.keyed import KeyedTransform

_MODES = {"reflection": "reflect", "border": "replicate"}


class Pad(KeyedTransform):
    """Pad the pictures on every side; not random.

    Args:
        pad: width of the padding, a fraction of the network's training size, rounded to whole pixels.
        padding_mode: what it shows: the picture's reflection, its border, mid grey or black.
    """

    def __init__(self, pad: float = 12 / 224, padding_mode: Outside = "grey") -> None:
        super().__init__()
        if not 0 <= pad < math.inf:
            raise UsageError(f"Pad needs a finite pad of at least 0, got pad={pad}")
        check_outside("Pad", padding_mode)
        self.pad, self.padding_mode = pad, padding_mode

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        width, sides = round(self.pad * self.unit), images.shape[-2:]
        if max(sides) + 2 * width > MAX_SIDE:
            raise UsageError(
                f"Pad pads pictures to {max(sides) + 2 * width} px, more than {MAX_SIDE}; set a smaller pad"
            )
        if self.padding_mode == "reflection" and width >= min(sides):
            raise UsageError(
                f"Pad cannot reflect {width} px of pictures of {sides[0]}x{sides[1]} px; set a smaller pad or another padding_mode"
            )
        mode = _MODES.get(self.padding_mode, "constant")
        return F.pad(images, (width,) * 4, mode=mode, value=LEVELS.get(self.padding_mode))
