"""Picture sizes as recipes specify them, and checks of them."""

import operator
from numbers import Integral, Real
from typing import Any, TypeAlias

from lightning_fv.errors import UsageError
from lightning_fv.functional import blur_reach

Size: TypeAlias = int | float | tuple[int, int]
"""A side in pixels (int), a fraction of the network's training size (float), or (height, width) in pixels."""


def in_pixels(size: Size, reference: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels.

    Args:
        size: pixels, a fraction, or (height, width).
        reference: (height, width) that a fraction refers to: the network's training size.

    Raises:
        UsageError: less than one pixel, more than 16384, or not a size.
    """
    if isinstance(size, Real) and not isinstance(size, Integral):  # of any kind, such as numpy's
        size = float(size)
        if size > 16:
            raise UsageError(
                f"the size {size} is {size:g} times the network's training size; write {size:.0f} for pixels"
            )
        height, width = round(reference[0] * size), round(reference[1] * size)
    else:
        height, width = _whole(size)
    if min(height, width) < 1:
        raise UsageError(f"the size {size} is less than one pixel; give pixels (64) or a fraction (0.5)")
    if max(height, width) > 16384:
        raise UsageError(f"the size {size} is more than 16384 px; give pixels (64) or a fraction (0.5)")
    return height, width


def _whole(size: Any) -> tuple[int, int]:
    try:
        height, width = (size, size) if isinstance(size, Integral) else size
        return operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        raise UsageError(
            f"a size is pixels (64), a fraction (0.5) or two whole numbers (height, width), not {size!r}"
        ) from None


def check_blur(name: str, sigma: float, size: tuple[int, int]) -> None:
    """Refuse a blur whose kernel spans the whole picture, which would leave a single colour.

    Args:
        name: of the callback, for the message.
        sigma: standard deviation in pixels.
        size: (height, width) of the pictures in pixels.

    Raises:
        UsageError: the kernel reaches as far as the shorter side.
    """
    if sigma > 0 and blur_reach(sigma) >= min(size):
        raise UsageError(
            f"{name} blurs {blur_reach(sigma)} px to each side (3 sigma), but the pictures are {size[0]}x{size[1]} px; "
            "set a smaller sigma or a larger size"
        )
