"""Picture sizes as recipes specify them, and checks of them."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeAlias

from lightning_fv.errors import UsageError
from lightning_fv.functional import MAX_SIDE, blur_reach

Size: TypeAlias = int | float | tuple[int, int]
"""A side in pixels (int), a fraction of the network's training size (float), or (height, width) in pixels."""


def in_pixels(size: Size, reference: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels.

    Args:
        size: pixels, a fraction, or (height, width).
        reference: (height, width) that a fraction refers to: the network's training size.

    Raises:
        UsageError: not a size, less than one pixel, or more than 16384.
    """
    forms = "give pixels (64), a fraction (0.5) or [height, width]"
    if isinstance(size, Real) and not isinstance(size, Integral):  # of any kind, such as numpy's
        size = float(size)
        if not math.isfinite(size):
            raise UsageError(f"the size {size} is not a number of pixels; {forms}")
        if size > 16:
            raise UsageError(
                f"the size {size} is {size:g} times the network's training size; write {size:.0f} for pixels"
            )
        height, width = round(reference[0] * size), round(reference[1] * size)
    else:
        sides = (size, size) if isinstance(size, Integral) else size
        if not isinstance(sides, Sequence) or [isinstance(side, Integral) for side in sides] != [True, True]:
            raise UsageError(f"the size {size!r} is not a size; {forms}")
        height, width = sides
    if min(height, width) < 1:
        raise UsageError(f"the size {size} is less than one pixel; {forms}")
    if max(height, width) > MAX_SIDE:
        raise UsageError(f"the size {size} is more than {MAX_SIDE} px; {forms}")
    return int(height), int(width)


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
