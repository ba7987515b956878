"""What the geometric transforms have in common: one affine map per picture, and what is seen outside of it."""

from typing import Literal, get_args

import torch
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
    from kornia.geometry.transform import warp_affine  # here: Kornia takes a second to import

    level = LEVELS.get(padding_mode, 0.0)
    moved: Tensor = warp_affine(
        images - level if level else images,
        matrices,
        window,
        padding_mode="zeros" if padding_mode in LEVELS else padding_mode,
        align_corners=True,
    )
    return moved + level if level else moved
