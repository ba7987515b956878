"""Transform robustness: a picture must excite its unit also when it is moved, turned and scaled (Olah et al. 2017)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_fv.errors import UsageError
from lightning_fv.functional import keyed_generator

# Sides of the tile of noise: large enough that windows of a few hundred pixels hardly ever overlap much.
_TILE = 512


class KeyedTransform(nn.Module):
    """A random transform that draws nothing itself: it is handed uniforms keyed by (seed, target, step).

    Attributes:
        draws: how many uniforms it needs per picture and step.
        unit: what lengths of 1.0 are, in pixels: the longer side that the network was trained at.
    """

    draws: int = 0
    unit: int = 224

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Transform (B, 3, H, W) pictures with uniforms (B, draws) in [0, 1)."""
        raise NotImplementedError


class RandomWarp(KeyedTransform):
    """Pad, crop, rotate and scale as one differentiable warp (Kornia), other draws for every picture.

    The picture is padded on every side, a window smaller by ``crop`` is cut out of that at a random place, turned by a
    random angle and scaled by a random factor about its centre. Four random draws, one interpolation. The result has
    sides of H + 2 pad - crop, so ``pad = crop / 2`` keeps the size.

    Lengths are in sides of the network's training size (0.125 is 28 px for a network trained at 224), so that a recipe
    means the same for every network.

    Args:
        pad: added on every side.
        crop: cut off in total along each axis, at a random place: the picture moves by up to half of it either way.
        rotate: largest angle in degrees, either way.
        scale: smallest and largest factor, uniform in between.
        padding_mode: what lies outside of the picture: its reflection, its border, or mid grey.
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
        if min(pad, crop, rotate) < 0 or not 0 < scale[0] <= scale[1]:
            raise UsageError(
                f"RandomWarp needs pad, crop and rotate of at least 0 and 0 < scale[0] <= scale[1]; "
                f"got pad={pad}, crop={crop}, rotate={rotate}, scale={tuple(scale)}"
            )
        if padding_mode not in ("reflection", "border", "grey"):
            raise UsageError(f"RandomWarp knows the padding modes reflection, border and grey, not {padding_mode!r}")
        self.pad, self.crop, self.rotate, self.padding_mode = pad, crop, rotate, padding_mode
        self.scale = (float(scale[0]), float(scale[1]))

    def matrices(self, uniforms: Tensor, size: tuple[int, int]) -> Tensor:
        """Affine matrices (B, 2, 3) from picture to window coordinates, (x, y) in pixels from the centre of [0, 0].

        Args:
            uniforms: (B, 4) in [0, 1): angle, scale, x, y.
            size: (height, width) of the pictures.
        """
        shift = self.crop * self.unit
        angle, factor, x, y = (uniforms - 0.5).unbind(1)
        angle, factor = angle * (self.rotate * math.pi / 90), factor * (self.scale[1] - self.scale[0])
        factor = factor + (self.scale[0] + self.scale[1]) / 2
        cos, sin = factor * angle.cos(), factor * angle.sin()
        height, width = size
        new_height, new_width = self.window(size)
        from_x, from_y, to_x, to_y = (width - 1) / 2, (height - 1) / 2, (new_width - 1) / 2, (new_height - 1) / 2
        row_x = shift * x + to_x - cos * from_x + sin * from_y
        row_y = shift * y + to_y - sin * from_x - cos * from_y
        return torch.stack([cos, -sin, row_x, sin, cos, row_y], 1).view(-1, 2, 3)

    def window(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that pictures of ``size`` come out with."""
        grown = round((2 * self.pad - self.crop) * self.unit)
        if min(size) + grown < 1:
            raise UsageError(
                f"RandomWarp crops {-grown} px from pictures of {size[0]}x{size[1]} px; set a smaller crop"
            )
        return size[0] + grown, size[1] + grown

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        from kornia.geometry.transform import warp_affine  # here: Kornia takes a second to import

        size = (images.shape[-2], images.shape[-1])
        grey = 0.5 if self.padding_mode == "grey" else 0.0
        warped: Tensor = warp_affine(
            images - grey if grey else images,
            self.matrices(uniforms, size),
            self.window(size),
            padding_mode="zeros" if grey else self.padding_mode,
            align_corners=True,
        )
        return warped + grey if grey else warped


class RandomNoise(KeyedTransform):
    """Add Gaussian noise, other noise for every picture and step.

    The gradient that reaches the picture is then an average over a neighbourhood (SmoothGrad, Smilkov et al. 2017):
    what only excites the unit by precise speckle averages out, shapes stay.

    The noise is a window, at a random place and of random sign, into one tile of white noise that is drawn once: a step
    draws three numbers per picture instead of all pixels.

    Args:
        std: standard deviation, in units of the picture's range [0, 1].
    """

    draws = 3
    _tile: Tensor

    def __init__(self, std: float = 0.12) -> None:
        super().__init__()
        if std < 0:
            raise UsageError(f"RandomNoise needs std of at least 0, got std={std}")
        self.std = std
        tile = torch.randn(3, _TILE, _TILE, generator=keyed_generator("RandomNoise"))
        # Private, and so in no job's id: it is the same for all, but its last bits may differ between CPUs.
        self.register_buffer("_tile", tile, persistent=False)
        self._repeated = torch.empty(3, 0, 0)

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        y, x = (uniforms[:, :2] * _TILE).long().unbind(1)
        noise = self._windows(images.shape[-2], images.shape[-1])[:, y, x].transpose(0, 1)  # (B, 3, H, W)
        sign = torch.where(uniforms[:, 2] < 0.5, -self.std, self.std)
        return torch.addcmul(images, noise, sign.view(-1, 1, 1, 1))

    def _windows(self, height: int, width: int) -> Tensor:
        """All windows of a size into the endless repetition of the tile, (3, 512, 512, height, width): a view."""
        needed = (_TILE + height - 1, _TILE + width - 1)
        if self._repeated.shape[1:] != needed or self._repeated.device != self._tile.device:
            times = (1, -(-needed[0] // _TILE), -(-needed[1] // _TILE))
            self._repeated = self._tile.repeat(times)[:, : needed[0], : needed[1]].contiguous()
        return self._repeated.unfold(1, height, 1).unfold(2, width, 1)


def study_warp() -> RandomWarp:
    """The transforms of the study: crop 12 px, pad 24 px, rotate 20 degrees, scale 1.5, for a network trained at 224 px.

    The study does not say whether 1.5 is a factor or a range; uniform in [1 / 1.5, 1.5] is our reading. It does not say
    what it pads with either; mid grey is Lucid's habit.
    """
    return RandomWarp(pad=24 / 224, crop=12 / 224, rotate=20.0, scale=(1 / 1.5, 1.5), padding_mode="grey")
