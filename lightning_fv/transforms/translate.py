"""A random shift by whole pixels, at the same size."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms.affine import Outside, check_outside, shifted
from lightning_fv.transforms.keyed import KeyedTransform


class RandomTranslate(KeyedTransform):
    """Shift the pictures by whole pixels along each axis and keep their size, drawn independently for every picture: ``jitter``
    of Lucent (0 to d - 1 px, black) and ``RandomSpatialJitter`` of Captum's optim branch (-d to d - 1 px, reflection).

    Args:
        smallest, largest: shift to the right and down, fractions of the network's training size, rounded to whole pixels;
            negative to the left and up. Every whole number of pixels from one to the other is equally likely.
        padding_mode: what is seen beside the picture: its reflection, its border, mid grey or black.
    """

    draws = 2

    def __init__(
        self, smallest: float = -8 / 224, largest: float = 8 / 224, padding_mode: Outside = "reflection"
    ) -> None:
        super().__init__()
        if not -math.inf < smallest <= largest < math.inf:
            raise UsageError(
                f"RandomTranslate needs finite smallest <= largest, got smallest={smallest}, largest={largest}"
            )
        check_outside("RandomTranslate", padding_mode)
        self.smallest, self.largest, self.padding_mode = smallest, largest, padding_mode

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        first, last = round(self.smallest * self.unit), round(self.largest * self.unit)
        shift = first + torch.floor(uniforms * (last - first + 1)).clamp(max=last - first)
        return shifted(images, shift, (images.shape[-2], images.shape[-1]), self.padding_mode)
