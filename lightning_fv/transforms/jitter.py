"""A window at a random place, whole pixels."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms.affine import shifted
from lightning_fv.transforms.keyed import KeyedTransform


class RandomJitter(KeyedTransform):
    """Cut whole pixels off each axis, at a random place, drawn independently for every picture: Lucid's ``jitter``.

    A picture of H by W becomes H - d by W - d, from one of the (d + 1) ** 2 places. Whole pixels, so nothing is interpolated.

    Args:
        crop: d, cut off in total along each axis, a fraction of the network's training size, rounded to whole pixels.
    """

    draws = 2

    def __init__(self, crop: float = 8 / 224) -> None:
        super().__init__()
        if not 0 <= crop < math.inf:
            raise UsageError(f"RandomJitter needs a finite crop of at least 0, got crop={crop}")
        self.crop = crop

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        d, (height, width) = round(self.crop * self.unit), images.shape[-2:]
        if min(height, width) <= d:
            raise UsageError(f"RandomJitter crops {d} px from pictures of {height}x{width} px; set a smaller crop")
        places = torch.floor(uniforms * (d + 1)).clamp(max=d)
        return shifted(images, -places, (height - d, width - d), "border")
