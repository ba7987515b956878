"""Gaussian noise in front of the network."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import keyed_generator, torch_defaults
from lightning_fv.transforms.keyed import PreparedTransform

# Side of the noise tile in pixels: large enough that windows of a few hundred pixels hardly ever overlap much.
_TILE = 512


class RandomNoise(PreparedTransform):
    """Add Gaussian noise, different for every picture and step.

    The gradient that reaches the picture is then an average over a neighbourhood (SmoothGrad, Smilkov et al. 2017):
    speckle that excites the unit only by its exact pixels averages out, shapes remain.

    The noise is a window, at a random position and with a random sign, into one tile of white noise that is drawn once: a step
    draws three numbers per picture instead of all pixels.

    Args:
        std: standard deviation, in units of the picture's range [0, 1].
    """

    draws = 3
    _tile: Tensor

    @torch_defaults()
    def __init__(self, std: float = 0.12) -> None:
        super().__init__()
        if not 0 <= std < math.inf:
            raise UsageError(f"RandomNoise needs a finite std of at least 0, got std={std}")
        self.std = std
        tile = torch.randn(3, _TILE, _TILE, generator=keyed_generator("RandomNoise"))
        self.register_buffer("_tile", tile, persistent=False)
        self._repeated = torch.empty(3, 0, 0)

    def prepare(self, uniforms: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
        places = (uniforms[..., :2] * _TILE).long()
        return places, torch.where(uniforms[..., 2] < 0.5, -self.std, self.std)[..., None, None, None]

    def apply_prepared(self, images: Tensor, prepared: tuple[Tensor, ...]) -> Tensor:
        (y, x), sign = prepared[0].unbind(1), prepared[1]
        size, channels = (images.shape[-2], images.shape[-1]), images.shape[1]
        # Further channels have other places in the tile, so that the noise of each is another.
        parts = [
            self._windows((y + 97 * number) % _TILE if number else y, x, size) for number in range(-(-channels // 3))
        ]
        noise = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return torch.addcmul(images, noise[:, :channels], sign)

    def _windows(self, y: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Windows of ``size`` (height, width) into the endlessly repeated tile, (B, 3, height, width).

        Args:
            y, x: (B,), of their top left corners, in [0, 512).
        """
        height, width = size
        needed = (_TILE + height - 1, _TILE + width - 1)
        if self._repeated.shape[1:] != needed or self._repeated.device != self._tile.device:
            times = (1, -(-needed[0] // _TILE), -(-needed[1] // _TILE))
            self._repeated = self._tile.repeat(times)[:, : needed[0], : needed[1]].contiguous()
        # On a CPU whole rows are copied, which is faster; on a GPU that would be an operation for each picture.
        if y.device.type == "cpu":
            corners = zip(y.tolist(), x.tolist(), strict=True)
            return torch.stack([self._repeated[:, top : top + height, left : left + width] for top, left in corners])
        return self._repeated.unfold(1, height, 1).unfold(2, width, 1)[:, y, x].transpose(0, 1)
