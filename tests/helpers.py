"""Tiny stand-ins: a network, pictures, and a Fourier series that knows no FFT."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor, nn

from lightning_fv.functional import to_uint8


class TinyNet(nn.Module):
    """conv1 - bn - relu (in place) - conv2 - mean over the map: logits of 5 classes. Seeded, with torch's own weights.

    Shape: (B, 3, H, W) -> (B, 5); conv1, bn and relu give (B, 8, ceil(H / 2), ceil(W / 2)), conv2 (B, 5, same).
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.bn = nn.BatchNorm2d(8)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(8, 5, 3, padding=1)
            # Fresh running statistics would make the normalisation the identity.
            self.bn.running_mean.normal_(0, 0.1)
            self.bn.running_var.uniform_(0.2, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv2(self.relu(self.bn(self.conv1(x)))).mean((2, 3))
        return logits


def smooth_photos(height: int, width: int) -> Tensor:
    """Two pictures of a few slow waves, (2, 3, height, width) in [0.1, 0.9], other phases in each colour."""
    y = torch.arange(height)[:, None] / height
    x = torch.arange(width)[None] / width
    pictures = torch.empty(2, 3, height, width)
    for number in range(2):
        for colour in range(3):
            waves = (
                0.5 * torch.sin(2 * math.pi * (y + 2 * x) + colour + 2 * number)
                + 0.3 * torch.sin(2 * math.pi * (3 * y - x) + 2 * colour + number)
                + 0.2 * torch.cos(2 * math.pi * (2 * y + number * x) - colour)
            )
            pictures[number, colour] = 0.5 + 0.4 * waves
    return pictures


def save_picture(path: str | Path, picture: Tensor) -> None:
    """Write a picture (3, H, W) in [0, 1] in the format that its name says."""
    Image.fromarray(to_uint8(picture).permute(1, 2, 0).numpy()).save(path)


def fourier_series(spectrum: NDArray[np.complexfloating], ys: ArrayLike, xs: ArrayLike) -> NDArray[np.float64]:
    """The picture of a half spectrum (..., H, K) at any places, summed wave by wave.

    Args:
        ys, xs: places in pictures: 0 is the first row, 1 would be the first row of the next period.

    Returns:
        (..., len(ys), len(xs)).
    """
    height, columns = spectrum.shape[-2:]
    ky = np.round(np.fft.fftfreq(height) * height)
    kx = np.arange(columns)
    twice = np.where(kx == 0, 1, 2)  # the other half of a real picture's spectrum is the conjugate of this one
    along_y = np.exp(2j * np.pi * np.outer(ys, ky))
    along_x = np.exp(2j * np.pi * np.outer(xs, kx)) * twice
    return np.einsum("...hk,yh,xk->...yx", spectrum, along_y, along_x).real


def pixel_places(side: int) -> NDArray[np.float64]:
    """Places of the pixels of a side, in pictures."""
    return np.arange(side) / side


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, drawn on the CPU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def assert_gradient(
    gradient: Tensor,
    formula: Callable[[Tensor], Sequence[float]],
    at: Tensor,
    places: Sequence[tuple[int, ...]],
    **close: float,
) -> None:
    """Check a gradient of the sum of a formula's values against central differences in float64.

    Args:
        gradient: with respect to ``at``.
        formula: an independent computation, of a tensor like ``at``.
        at: where.
        places: which numbers of ``at`` are moved.
        close: tolerances of ``pytest.approx``.
    """
    for place in places:
        moved = [at.double().clone(), at.double().clone()]
        moved[0][place] -= 1e-5
        moved[1][place] += 1e-5
        low, high = (sum(formula(maps)) for maps in moved)
        assert float(gradient[place]) == pytest.approx((high - low) / 2e-5, **close)


def low_pass(images: Tensor, cells: tuple[int, int] = (6, 5)) -> NDArray[np.float32]:
    """Means over a coarse grid, by Pillow: what a picture shows, whatever its size. (B, C, H, W) -> (B, C, *cells)."""
    planes = [Image.fromarray(plane.numpy(), "F") for plane in images.detach().cpu().flatten(0, 1)]
    small = [np.asarray(plane.resize(cells[::-1], Image.Resampling.BOX)) for plane in planes]
    return np.stack(small).reshape(*images.shape[:2], *cells)


def autoencoder(width: int, latents: int, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a sparse autoencoder of ``width`` channels, by the names of SAELens, ViT-Prisma and our own files."""
    return {
        "W_enc": noise(width, latents, seed=seed) / width**0.5,
        "b_enc": noise(latents, seed=seed + 1) / 4,
        "W_dec": noise(latents, width, seed=seed + 2),
        "b_dec": noise(width, seed=seed + 3),
    }
