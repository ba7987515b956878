"""The polynomial MMD, against loops, torchmetrics and a closed form."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from lightning_fv.functional import mmd, polynomial_mmd
from tests.helpers import noise

ONE, OTHER = noise(9, 6) + 0.3, 1.5 * noise(7, 6, seed=1)


def test_it_is_the_loop_over_pairs(device: torch.device) -> None:
    x, y = ONE.double().numpy(), OTHER.double().numpy()
    within = [
        np.mean([(a[i] @ a[j] / 6 + 1) ** 3 for i in range(len(a)) for j in range(len(a)) if i != j]) for a in (x, y)
    ]
    between = np.mean([(a @ b / 6 + 1) ** 3 for a in x for b in y])
    found = polynomial_mmd(ONE.to(device), OTHER.to(device))
    assert float(found) == pytest.approx(within[0] + within[1] - 2 * between, rel=1e-10)


@pytest.mark.parametrize("degree", [1, 3])
def test_of_equal_sizes_it_is_torchmetrics(degree: int) -> None:
    one, other = ONE[:7].double(), OTHER.double()
    torch.testing.assert_close(polynomial_mmd(one, other, degree), poly_mmd(one, other, degree))


def test_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = polynomial_mmd(ONE, OTHER)
    monkeypatch.setattr(mmd, "BLOCK", 2)
    torch.testing.assert_close(polynomial_mmd(ONE, OTHER), whole)


def test_it_is_unbiased() -> None:
    """Of one distribution the mean is 0, at any number; of degree 1 it is the squared distance of means over D."""
    features = noise(4000, 6)
    few = torch.stack([polynomial_mmd(features[i : i + 4], features[i + 4 : i + 10]) for i in range(0, 4000, 10)])
    assert abs(float(few.mean())) < 3 * float(few.std()) / 20
    assert float(polynomial_mmd(features[:2000], features[2000:] + 0.5, degree=1)) == pytest.approx(0.25, abs=0.02)


def test_one_picture_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two of each set, not 1 and 7"):
        polynomial_mmd(ONE[:1], OTHER)
    broken = ONE.clone()
    broken[3, 2] = torch.nan
    assert bool(polynomial_mmd(broken, OTHER).isnan())
