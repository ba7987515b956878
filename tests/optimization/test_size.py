"""Sizes in pixels, as fractions, and too small for a blur."""

import pytest

from lightning_fv.errors import UsageError
from lightning_fv.optimization.size import check_blur, in_pixels


def test_sizes_in_all_their_ways() -> None:
    assert in_pixels(40, (64, 48)) == (40, 40)
    assert in_pixels(0.5, (64, 48)) == (32, 24)
    assert in_pixels((9, 7), (64, 48)) == (9, 7)
    with pytest.raises(UsageError, match="less than one pixel"):
        in_pixels(0.001, (64, 48))
    with pytest.raises(UsageError, match="40 times the network's training size; write 40 for pixels"):
        in_pixels(40.0, (64, 48))
    with pytest.raises(UsageError, match="more than 16384 px"):
        in_pixels((20000, 7), (64, 48))


def test_a_blur_must_not_span_the_picture() -> None:
    check_blur("Blur", 2.0, (7, 30))
    check_blur("Blur", 0.0, (1, 1))
    with pytest.raises(UsageError, match=r"Blur blurs 6 px to each side \(3 sigma\), but the pictures are 6x30 px"):
        check_blur("Blur", 2.0, (6, 30))
