"""Pictures as pixels."""

import math

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import gaussian_blur, resize_images
from lightning_fv.parameterizations.base import Parameterization


class Pixel(Parameterization):
    """One number per pixel and colour, squashed by a sigmoid: the plain representation, prone to high-frequency noise.

    Args:
        sd: standard deviation of the noise to start from, before the sigmoid.
        decorrelate: optimise along the colour axes of natural photos instead of RGB (Olah et al. 2017).
    """

    def __init__(self, sd: float = 0.01, decorrelate: bool = False) -> None:
        super().__init__()
        if not 0 <= sd < math.inf:
            raise UsageError(f"Pixel needs a finite sd of at least 0, got sd={sd}")
        self.sd, self.decorrelate = sd, decorrelate

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return (self.channels, *size)

    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        return values

    def encode(self, logits: Tensor) -> Tensor:
        return logits

    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        return resize_images(values, new)

    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        return gaussian_blur(values, sigma)
