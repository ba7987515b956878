"""Pictures as Laplacian pyramids."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import gaussian_blur, pack, resize_images, unpack
from lightning_fv.parameterizations.base import Parameterization

GAIN = 0.2
"""Weight of the finest level, for the learning rate of the default recipe; chosen by looking at pictures of the demo network."""


class LaplacianPyramid(Parameterization):
    """The sigmoid of a sum of levels, each half the size of the one before (Burt & Adelson 1983).

    With v_0 at the picture's resolution, v_1 at half of it and so on, in decorrelated colour, and e for bilinear upsampling to the
    size of the next finer level:

        logits = w_0 v_0 + e(w_1 v_1 + e(w_2 v_2 + ...)),    w_k = 0.2 * 2 ** (k * (decay - 1))

    The weights make steps in coarse levels larger, with the same exponent as in `Fourier`: an octave around frequency f has about
    f ** 2 coefficients of size f ** -decay, so its amplitude per pixel falls as f ** (1 - decay). At decay 1 all levels have the
    same weight, as in Lucid (``laplacian_pyramid``, 4 levels there). Unlike with `Fourier`, pictures are not periodic, and
    coefficients act locally.

    When a picture is upscaled, so is each of its levels.

    Args:
        levels: number of levels, at least 1 (which is `Pixel`); the coarsest is 2 ** (levels - 1) times smaller.
        decay: exponent of the weights.
        sd: standard deviation of the initial coefficients.
        decorrelate: optimise along the colour axes of natural photos instead of RGB.
    """

    def __init__(self, levels: int = 6, decay: float = 1.5, sd: float = 0.01, decorrelate: bool = True) -> None:
        super().__init__()
        if levels < 1 or not math.isfinite(decay) or not 0 <= sd < math.inf:
            raise UsageError(
                "LaplacianPyramid needs at least 1 level, a finite decay and a finite sd of at least 0, "
                f"got levels={levels}, decay={decay}, sd={sd}"
            )
        self.levels, self.decay, self.sd, self.decorrelate = levels, decay, sd, decorrelate

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return (sum(math.prod(shape) for shape in self._shapes(size)),)

    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        levels = unpack(values, self._shapes(size))
        image = self._weight(self.levels - 1) * levels[-1]
        for number in range(self.levels - 2, -1, -1):
            level = levels[number]
            image = torch.add(_enlarged(image, level), level, alpha=self._weight(number))
        return image

    def encode(self, logits: Tensor) -> Tensor:
        levels = []
        for number, (_, height, width) in enumerate(self._shapes((logits.shape[-2], logits.shape[-1]))[1:]):
            smaller = resize_images(logits, (height, width))
            levels.append((logits - _enlarged(smaller, logits)) / self._weight(number))
            logits = smaller
        return pack([*levels, logits / self._weight(self.levels - 1)])

    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        levels = unpack(values, self._shapes(old))
        return pack([resize_images(level, shape[1:]) for level, shape in zip(levels, self._shapes(new), strict=True)])

    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        return self.encode(gaussian_blur(self.decode(values, size), sigma))

    def _shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """(C, height, width) of each level, the finest first."""
        return [(self.channels, -(-size[0] // 2**k), -(-size[1] // 2**k)) for k in range(self.levels)]

    def _weight(self, level: int) -> float:
        weight: float = GAIN * 2.0 ** (level * (self.decay - 1))
        return weight


def _enlarged(image: Tensor, to: Tensor) -> Tensor:
    return F.interpolate(image, size=to.shape[-2:], mode="bilinear", align_corners=False)
