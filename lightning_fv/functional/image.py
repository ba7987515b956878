"""Operations on image tensors: resizing, blurring, conversion to bytes."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SIDE = 16384
"""The longest side of a picture, in pixels; as numbers, a square of it takes 3 GiB."""


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize, antialiased when shrinking. (B, C, H, W) -> (B, C, *size).

    Bilinear because its weights are never negative: second moments of an optimizer stay valid.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images.clone()
    shrinks = size[0] < images.shape[-2] or size[1] < images.shape[-1]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=shrinks)


def composite(images: Tensor, background: Tensor | float = 0.5) -> Tensor:
    """Lay pictures with an opacity over a background (Porter & Duff 1984, "Compositing Digital Images": over).

    Args:
        images: (B, C + 1, H, W), the last channel the opacity in [0, 1], by which the colours are not multiplied yet.
        background: (B, C, H, W), or one value for all.

    Returns:
        (B, C, H, W): ``opacity * colour + (1 - opacity) * background``.
    """
    colours, opacity = images[:, :-1], images[:, -1:]
    return background + opacity * (colours - background)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with reflected borders (Kornia).

    Args:
        images: (B, C, H, W).
        sigma: standard deviation in pixels; the kernel extends 3 sigma to each side, or as far as the picture allows.
    """
    from kornia.filters import gaussian_blur2d  # here: Kornia takes a second to import

    def taps(side: int) -> int:  # odd, and reflection limits it to less than twice the side
        return min(2 * blur_reach(sigma) + 1, 2 * side - 1)

    kernel = (taps(images.shape[-2]), taps(images.shape[-1]))
    blurred: Tensor = gaussian_blur2d(images, kernel, (sigma, sigma), border_type="reflect")
    return blurred


def box_blur(images: Tensor, side: int) -> Tensor:
    """Weighted mean over a square around each pixel, in which those at the square's edge count half; of a square that extends
    beyond the picture, over the rest. The blur of Lucid's penalties (``_tf_blur`` in lucid/optvis/objectives.py).

    Args:
        images: (B, C, H, W).
        side: of the square in pixels, odd, at least 3.
    """

    def total(values: Tensor) -> Tensor:  # by pooling, which mixed precision leaves in float32
        outer, inner = (F.avg_pool2d(values, width, 1, width // 2, divisor_override=1) for width in (side, side - 2))
        return (outer + inner) / 2

    return total(images) / total(torch.ones_like(images[:1, :1]))


def blur_reach(sigma: float) -> int:
    """Radius of the kernel of a Gaussian blur, in pixels: 3 ``sigma``, at least 1."""
    return max(1, round(3 * sigma))


def to_uint8(images: Tensor) -> Tensor:
    """[0, 1] floats (..., C, H, W) to RGB, (..., 3, H, W) of 0..255, rounded, on the CPU and detached.

    One channel becomes grey, of two the second is shown as green and blue, of more than three the first three are shown.

    Raises:
        ValueError: a value is NaN or infinite; in a file it would silently become black.
    """
    pixels = finite_uint8(images)
    if pixels is None:
        raise ValueError("the picture contains NaN or infinite values")
    return pixels


def finite_uint8(images: Tensor) -> Tensor | None:
    """As `to_uint8`, but None if a value is NaN or infinite; from another device in one copy, with the answer to that."""
    images = images.detach()
    channels = images.shape[-3]
    if channels != 3:
        images = torch.stack([images.select(-3, min(number, channels - 1)) for number in range(3)], -3)
    finite = torch.linalg.vector_norm(images, torch.inf) < torch.inf  # the largest magnitude; NaN, if there is one
    pixels = images.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    if images.device.type == "cpu":
        return pixels if bool(finite) else None
    copied = torch.cat([pixels.flatten(), finite.to(torch.uint8).view(1)]).cpu()
    return copied[:-1].view(pixels.shape) if bool(copied[-1]) else None
