"""One warp that translates, rotates and scales (transform robustness, Olah et al. 2017)."""

import math
from typing import Literal

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import MAX_SIDE
from lightning_fv.transforms.affine import inverted, sampled
from lightning_fv.transforms.keyed import PreparedTransform


class RandomWarp(PreparedTransform):
    """Rotate, scale and shift as one differentiable warp, drawn independently for every picture.

    The picture is rotated by a random angle and scaled by a random factor about its centre, then shifted at random. Returned is
    a window of H + 2 pad - crop by W + 2 pad - crop pixels around where the centre was before the shift. Without rotation and
    scale that is the customary padding and random crop, and ``pad = crop / 2`` keeps the size. Four random draws, one
    interpolation.

    Lengths are fractions of the network's training size (0.125 is 28 px for a network trained at 224), so that a recipe
    means the same for every network.

    The interpolation is bilinear without a low-pass filter, so a scale below 1 aliases: at 2/3, a wave of 0.45 cycles a pixel
    becomes one of 0.325 with 0.44 of its amplitude. Rendered pictures hardly have such waves: of the energy in the window,
    0.03 % is aliased with the default recipe, and 0.08 % with the study's (0.7 % at 50 times its learning rate), where white
    noise has 5 and 7 %. A Gaussian filter for the drawn scale in front of the warp changed pictures of demo's 24 classes
    with two seeds by 0.04 +- 0.09 in the mean logit (of 19.9) and by -0.0002 +- 0.0008 in the mean share of high
    frequencies (of 0.035), while one picture's logit differs by 0.8 from seed to seed; with the study's recipe, eight
    classes and one seed, by -0.4 +- 0.3 (of 18.2) and -0.003 +- 0.003 (of 0.17). The warp took six times as long.

    Args:
        pad: added on every side.
        crop: cut off in total along each axis, at a random position: the picture moves by up to half of it either way.
        rotate: largest angle in degrees, either way.
        scale: smallest and largest factor, uniform in between.
        padding_mode: what fills the area outside the picture: its reflection, its border, or mid grey.
    """

    draws = 4

    def __init__(
        self,
        pad: float = 0.06,
        crop: float = 0.12,
        rotate: float = 15.0,
        scale: tuple[float, float] = (0.8, 1.2),
        padding_mode: Literal["reflection", "border", "grey"] = "reflection",
    ) -> None:
        super().__init__()
        lengths = all(0 <= value < math.inf for value in (pad, crop, rotate))
        if not lengths or not 0 < scale[0] <= scale[1] < math.inf:
            raise UsageError(
                f"RandomWarp needs finite pad, crop and rotate of at least 0 and 0 < scale[0] <= scale[1]; "
                f"got pad={pad}, crop={crop}, rotate={rotate}, scale={tuple(scale)}"
            )
        if padding_mode not in ("reflection", "border", "grey"):
            raise UsageError(f"RandomWarp needs padding_mode reflection, border or grey, not {padding_mode!r}")
        self.pad, self.crop, self.rotate, self.padding_mode = pad, crop, rotate, padding_mode
        self.scale = (float(scale[0]), float(scale[1]))

    def matrices(self, uniforms: Tensor, size: tuple[int, int]) -> Tensor:
        """Affine matrices (..., 2, 3) from picture to window coordinates, (x, y) in pixels from the centre of [0, 0].

        Args:
            uniforms: (..., 4) in [0, 1): angle, scale, x, y.
            size: (height, width) of the pictures.
        """
        shift = self.crop * self.unit
        angle, factor, x, y = (uniforms - 0.5).unbind(-1)
        angle, factor = angle * (self.rotate * math.pi / 90), factor * (self.scale[1] - self.scale[0])
        factor = factor + (self.scale[0] + self.scale[1]) / 2
        cos, sin = factor * angle.cos(), factor * angle.sin()
        height, width = size
        new_height, new_width = self.window(size)
        from_x, from_y, to_x, to_y = (width - 1) / 2, (height - 1) / 2, (new_width - 1) / 2, (new_height - 1) / 2
        row_x = shift * x + to_x - cos * from_x + sin * from_y
        row_y = shift * y + to_y - sin * from_x - cos * from_y
        rows = torch.stack([cos, -sin, row_x], -1), torch.stack([sin, cos, row_y], -1)
        return torch.stack(rows, -2)

    def window(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the output for pictures of ``size``."""
        grown = round((2 * self.pad - self.crop) * self.unit)
        if min(size) + grown < 1:
            raise UsageError(
                f"RandomWarp crops {-grown} px from pictures of {size[0]}x{size[1]} px; set a smaller crop"
            )
        if max(size) + grown > MAX_SIDE:
            raise UsageError(
                f"RandomWarp pads pictures to {max(size) + grown} px, more than {MAX_SIDE}; set a smaller pad"
            )
        return size[0] + grown, size[1] + grown

    def prepare(self, uniforms: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
        return (inverted(self.matrices(uniforms, size), size, self.window(size)),)

    def apply_prepared(self, images: Tensor, prepared: tuple[Tensor, ...]) -> Tensor:
        return sampled(images, prepared[0], self.window((images.shape[-2], images.shape[-1])), self.padding_mode)
