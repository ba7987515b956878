"""What the geometric transforms have in common: one affine map per picture, and what is seen outside of it."""

import functools
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import constant

Outside = Literal["reflection", "border", "grey", "black"]
"""What is seen outside of a picture: its reflection, its border, mid grey (0.5) or black (0)."""

LEVELS = {"grey": 0.5, "black": 0.0}
"""Of those that are one value."""


def check_outside(name: str, padding_mode: str) -> None:
    """Refuse what is no `Outside`.

    Args:
        name: of the transform, for the message.

    Raises:
        UsageError: it is none.
    """
    modes = get_args(Outside)
    if padding_mode not in modes:
        raise UsageError(f"{name} needs padding_mode {', '.join(modes[:-1])} or {modes[-1]}, not {padding_mode!r}")


def chosen(choices: tuple[float, ...], uniforms: Tensor) -> Tensor:
    """One of the numbers for each uniform in [0, 1), all equally likely; of the same shape and type."""
    number = (uniforms * len(choices)).long().clamp(max=len(choices) - 1)  # float32 may round up to their count
    return constant(choices, uniforms.device, uniforms.dtype)[number]


def about_centre(images: Tensor, linear: Tensor, window: tuple[int, int], padding_mode: Outside) -> Tensor:
    """Move each picture's points from p, counted from its centre, to ``linear @ p``, counted from the window's centre.

    Args:
        images: (B, C, H, W).
        linear: (B, 2, 2), in (x, y).
        window: (height, width) of the result.
    """
    sides = ((images.shape[-1] - 1) / 2, (images.shape[-2] - 1) / 2), ((window[1] - 1) / 2, (window[0] - 1) / 2)
    before, after = constant(sides, linear.device, linear.dtype)
    return warped(images, torch.cat([linear, (after - linear @ before)[..., None]], 2), window, padding_mode)


def shifted(images: Tensor, shift: Tensor, window: tuple[int, int], padding_mode: Outside) -> Tensor:
    """Move each picture to the right and down; without it, picture and window have the same top left corner.

    Args:
        images: (B, C, H, W).
        shift: (B, 2), x and y in pixels.
        window: (height, width) of the result.
    """
    linear = torch.eye(2, dtype=shift.dtype, device=shift.device).expand(len(shift), 2, 2)
    return warped(images, torch.cat([linear, shift[..., None]], 2), window, padding_mode)


def warped(images: Tensor, matrices: Tensor, window: tuple[int, int], padding_mode: Outside) -> Tensor:
    """The pictures with each point moved by an affine matrix; bilinear, without a low-pass filter.

    Args:
        images: (B, C, H, W).
        matrices: (B, 2, 3), from picture to window coordinates, (x, y) in pixels from the centre of [0, 0].
        window: (height, width) of the result.
        padding_mode: what is seen outside of the picture.
    """
    return sampled(images, inverted(matrices, (images.shape[-2], images.shape[-1]), window), window, padding_mode)


def inverted(matrices: Tensor, size: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Where in the picture each point of the window is from, for `sampled`: the inverse in closed form.

    Args:
        matrices: (..., 2, 3), from picture to window coordinates, as for `warped`.
        size: (height, width) of the pictures.
        window: (height, width) of the result.

    Returns:
        (..., 2, 3), from (x, y) in pixels from the window's centre to the coordinates of `torch.nn.functional.grid_sample`, in which the
        centres of the picture's outermost pixels are at -1 and 1.
    """
    a, b, c, d = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 0], matrices[..., 1, 1]
    x = (window[1] - 1) / 2 - matrices[..., 0, 2]
    y = (window[0] - 1) / 2 - matrices[..., 1, 2]
    determinant = a * d - b * c
    across, down = 2 / max(size[1] - 1, 1) / determinant, 2 / max(size[0] - 1, 1) / determinant
    top = torch.stack([d * across, -b * across, (d * x - b * y) * across - 1], -1)
    bottom = torch.stack([-c * down, a * down, (a * y - c * x) * down - 1], -1)
    return torch.stack([top, bottom], -2)


def sampled(images: Tensor, sources: Tensor, window: tuple[int, int], padding_mode: Outside) -> Tensor:
    """The window's pixels from the pictures, bilinear.

    Args:
        images: (B, C, H, W).
        sources: (B, 2, 3), see `inverted`.
        window: (height, width) of the result.
        padding_mode: what is seen outside of the picture.
    """
    grid = _grid(sources.to(images.dtype), window)
    level = LEVELS.get(padding_mode, 0.0)
    moved = F.grid_sample(
        images - level if level else images,
        grid,
        padding_mode="zeros" if padding_mode in LEVELS else padding_mode,
        align_corners=True,
    )
    return moved + level if level else moved


def _grid(sources: Tensor, window: tuple[int, int]) -> Tensor:
    """Where each pixel of the window is from, (B, H, W, 2); two sums, since a product of matrices of two rows takes twice as long."""
    by_x, by_y, offset = sources.unbind(-1)  # (B, 2) each
    y, x = (_from_centre(length, sources.device, sources.dtype) for length in window)
    rows = torch.addcmul(offset[:, None], y[:, None], by_y[:, None])  # (B, H, 2)
    return torch.addcmul(rows[:, :, None], x[:, None], by_x[:, None, None])


@functools.lru_cache(maxsize=64)
def _from_centre(length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Each pixel's distance from the centre, (length,); made once, since a step would wait for a copy."""
    with torch.inference_mode(False):
        return (torch.arange(length, dtype=dtype) - (length - 1) / 2).to(device)
