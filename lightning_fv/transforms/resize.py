"""The size that a network was trained at."""

import math

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import MAX_SIDE, resize_images
from lightning_fv.transforms.keyed import KeyedTransform


class Resize(KeyedTransform):
    """Show the network the pictures at another size than they have, bilinear, antialiased when they shrink; not random.

    So that a small picture is seen as large as a photo (Lucent), or a part of a large one at the size of the whole.

    Args:
        size: the longer side, a fraction of the network's training size.
    """

    def __init__(self, size: float = 1.0) -> None:
        super().__init__()
        if not 0 < size < math.inf:
            raise UsageError(f"Resize needs a finite size above 0, got size={size}")
        self.size = size

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        longer, sides = round(self.size * self.unit), images.shape[-2:]
        if not 1 <= longer <= MAX_SIDE:
            raise UsageError(f"Resize makes pictures of {longer} px; give a size from 1 to {MAX_SIDE} px")
        factor = longer / max(sides)
        return resize_images(images, (max(1, round(sides[0] * factor)), max(1, round(sides[1] * factor))))
