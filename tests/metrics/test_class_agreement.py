"""Agreement of a classifier with the intended class, against scipy."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import rankdata

from lightning_fv.metrics import ClassAgreement
from tests.helpers import noise
from tests.metrics.measure import merged, updated

LOGITS, INDEX = noise(9, 7), torch.tensor([0, 3, 6, 3, 2, 1, 1, 4, 5])
LOGITS[0, 0] = 9.0


def test_it_is_the_mean_over_pictures() -> None:
    rows = np.arange(9), INDEX.numpy()
    ranks = rankdata(-LOGITS.numpy(), axis=1)[rows]
    found = updated(ClassAgreement(), (LOGITS, INDEX))
    assert float(found["rank"]) == pytest.approx(ranks.mean())
    assert float(found["probability"]) == pytest.approx(softmax(LOGITS.numpy(), axis=1)[rows].mean(), rel=1e-5)
    assert float(found["top1"]) == pytest.approx((ranks == 1).mean())
    assert 0 < float(found["top1"]) < 1


def test_workers_together_are_one() -> None:
    parts = (LOGITS[:4], INDEX[:4]), (LOGITS[4:], INDEX[4:])
    whole = updated(ClassAgreement(), (LOGITS, INDEX))
    for found in (merged(ClassAgreement(), *parts), updated(ClassAgreement(), *parts)):
        assert {name: float(value) for name, value in found.items()} == pytest.approx(
            {name: float(value) for name, value in whole.items()}
        )


def test_half_precision_does_not_limit_the_rank() -> None:
    logits = torch.arange(4001.0).flip(0)[None].half()
    logits[0, 1] = 9000
    assert float(updated(ClassAgreement(), (logits, torch.tensor([4000])))["rank"]) == 4001


def test_a_tie_is_no_win() -> None:
    found = updated(ClassAgreement(), (torch.zeros(1, 2), torch.tensor([0])))
    assert {name: float(value) for name, value in found.items()} == {"probability": 0.5, "rank": 1.5, "top1": 0.0}


def test_nan_is_not_averaged_away() -> None:
    broken = LOGITS.clone()
    broken[4, 0] = torch.nan
    assert all(bool(value.isnan()) for value in updated(ClassAgreement(), (broken, INDEX)).values())
