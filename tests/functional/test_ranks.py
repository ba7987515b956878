"""Ranks and their correlation, against scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from lightning_fv.functional import midranks, rank_correlation
from tests.helpers import noise


@pytest.mark.parametrize("digits", [8, 0])  # rounded to integers, many are equal
def test_ranks_are_scipys(digits: int, device: torch.device) -> None:
    values = noise(2, 3, 50).round(decimals=digits)
    assert midranks(values.to(device)).tolist() == rankdata(values.numpy(), axis=-1).tolist()


@pytest.mark.parametrize("digits", [8, 0])
def test_the_correlation_is_scipys(digits: int, device: torch.device) -> None:
    one, other = noise(3, 4, 20).round(decimals=digits), noise(3, 5, 20, seed=1).round(decimals=digits)
    found = rank_correlation(one.to(device), other.to(device)).cpu()
    assert found.shape == (3, 4, 5)
    for batch, i, j in np.ndindex(3, 4, 5):
        expected = spearmanr(one[batch, i], other[batch, j]).statistic
        assert float(found[batch, i, j]) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(rank_correlation(one[0], other)[2], rank_correlation(one[0], other[2]))


def test_only_the_order_counts() -> None:
    row = noise(1, 20)
    assert float(rank_correlation(row, row.exp())) == pytest.approx(1)
    assert float(rank_correlation(row, -(row**3))) == pytest.approx(-1)


def test_what_has_no_order_is_nan() -> None:
    rows = noise(3, 19)
    rows[0], rows[1, 4] = 0.1, torch.nan
    assert midranks(rows).isnan().all(1).tolist() == [False, True, False]
    assert rank_correlation(rows, noise(1, 19, seed=1))[:, 0].isnan().tolist() == [True, True, False]
