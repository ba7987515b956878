"""Mirrored pictures."""

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms.keyed import KeyedTransform


class RandomFlip(KeyedTransform):
    """Mirror the pictures left to right at random, drawn independently for every picture.

    Args:
        probability: of a mirrored picture.
    """

    draws = 1

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise UsageError(f"RandomFlip needs a probability in [0, 1], got {probability}")
        self.probability = probability

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        mirrored = uniforms[:, 0] < self.probability
        return images.flip(-1).where(mirrored.view(-1, 1, 1, 1), images)
