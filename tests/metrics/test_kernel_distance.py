"""The kernel distance of sets; its formula is tested in tests/functional/test_mmd.py."""

import pytest
import torch

from lightning_fv.functional import polynomial_mmd
from lightning_fv.metrics import KernelDistance
from tests.helpers import noise
from tests.metrics.measure import merged, updated

PICTURES, PHOTOS = noise(60, 6) + 0.5, noise(90, 6, seed=1)


def test_it_is_that_of_all_features() -> None:
    expected = float(polynomial_mmd(PICTURES, PHOTOS))
    assert expected > 0.1
    assert float(updated(KernelDistance(), (PICTURES, False), (PHOTOS, True))) == pytest.approx(expected)
    mixed = (PHOTOS[:20], True), (PICTURES[:50], False), (PHOTOS[20:], True), (PICTURES[50:], False)
    assert float(updated(KernelDistance(), *mixed)) == pytest.approx(expected)
    assert float(merged(KernelDistance(), *mixed)) == pytest.approx(expected)


def test_too_few_are_refused() -> None:
    for update in ([(PICTURES[:49], False), (PHOTOS, True)], [(PICTURES, False), (PHOTOS[:49], True)]):
        with pytest.raises(ValueError, match=r"pictures and .* photos: the kernel distance takes at least 50 of each"):
            updated(KernelDistance(), *update)
    with pytest.raises(ValueError, match="60 pictures and 0 photos"):
        updated(KernelDistance(), (PICTURES, False))
    assert updated(KernelDistance(least=2), (PICTURES[:2], False), (PHOTOS, True)).shape == ()


def test_nan_is_not_averaged_away() -> None:
    broken = PICTURES.clone()
    broken[3, 2] = torch.nan
    assert bool(updated(KernelDistance(), (broken, False), (PHOTOS, True)).isnan())
