"""Photos whose texture no longer tells what they show: the augmentation of the stylized demo network.

Geirhos et al. 2019 repaint photos by style transfer, which needs another trained network. Here, without one, a photo keeps
its shapes and gets the colours and the texture of another photo of any class:

1. smoothed: a Kuwahara filter (Kuwahara et al. 1976) flattens what is within a contour and keeps the contour;
2. recoloured: mean and deviation of each channel move towards the other photo's by a random fraction (adaptive instance
   normalisation, Huang & Belongie 2017, on pixels);
3. overlaid: the fine detail of a small, rotated, mirrored and tiled piece of the other photo, which has no shape left.
"""

import math

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

SHARE = 0.8
"""Share of the photos that are repainted; the rest stays, so that the network still knows photos."""


def randomize_texture(x: Tensor, generator: torch.Generator, share: float = SHARE) -> Tensor:
    """Give photos the colours and texture of another photo of the batch, independent of what they show.

    Args:
        x: (B, 3, H, W) photos, about [0, 1].
        generator: for all draws.
        share: fraction of the photos that are changed.

    Returns:
        (B, 3, H, W), not clamped.
    """

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(len(x), generator=generator)).view(-1, 1, 1, 1)

    other = x[torch.randperm(len(x), generator=generator)]
    kept = uniform(0, 1)
    painted = kuwahara(x)
    repainted = kept * painted + (1 - kept) * _with_statistics_of(painted, other)
    tiles = _tiles(other, uniform(0.4, 0.8), uniform(-0.5, 0.5), uniform(-0.5, 0.5), uniform(0, math.tau))
    detail = tiles - gaussian_blur2d(tiles, (9, 9), (2.5, 2.5))
    return torch.where(uniform(0, 1) < share, repainted + uniform(0.5, 1.5) * detail, x)


def kuwahara(x: Tensor, radius: int = 2) -> Tensor:
    """Mean of the least varying of the four squares of side ``radius + 1`` that meet in a pixel (Kuwahara et al. 1976).

    Shape: (B, C, H, W) -> (B, C, H, W); H and W above ``radius``.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (radius,) * 4, mode="reflect")
    mean = F.avg_pool2d(padded, radius + 1, 1)
    variance = F.avg_pool2d((padded**2).mean(1, keepdim=True), radius + 1, 1) - (mean**2).mean(1, keepdim=True)
    corners = [(slice(i, i + height), slice(j, j + width)) for i in (0, radius) for j in (0, radius)]
    calmest = torch.stack([variance[..., i, j] for i, j in corners]).argmin(0, keepdim=True)
    return torch.stack([mean[..., i, j] for i, j in corners]).gather(0, calmest.expand(1, *x.shape))[0]


def _with_statistics_of(x: Tensor, other: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(x, (2, 3), keepdim=True)
    wanted, centre = torch.std_mean(other, (2, 3), keepdim=True)
    return (x - mean) / (deviation + 1e-3) * wanted + centre


def _tiles(x: Tensor, side: Tensor, row: Tensor, column: Tensor, angle: Tensor) -> Tensor:
    """Pieces of photos centred at (row, column), of half a side in [-1, 1] coordinates, mirrored, repeated and rotated."""
    cos, sin, zero = angle.cos().flatten(), angle.sin().flatten(), torch.zeros(len(x))
    turned = torch.stack([torch.stack([cos, -sin, zero], -1), torch.stack([sin, cos, zero], -1)], -2)
    grid = F.affine_grid(turned, list(x.shape), align_corners=False)
    grid = side * (((grid / side + 1) % 4 - 2).abs() - 1)  # a triangle wave mirrors at every edge of a tile
    grid = grid + torch.cat([column, row], -1)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
