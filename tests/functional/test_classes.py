"""Ranks and probabilities of classes, against scipy."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import rankdata

from lightning_fv.functional import class_probability, class_rank
from tests.helpers import noise

INDEX = torch.tensor([0, 3, 6, 3, 2])


@pytest.mark.parametrize("digits", [8, 0])  # rounded to integers, many are equal
def test_they_are_scipys(digits: int, device: torch.device) -> None:
    logits = (2 * noise(5, 7)).round(decimals=digits)
    ranks = rankdata(-logits.numpy(), axis=1)[np.arange(5), INDEX]
    assert class_rank(logits.to(device), INDEX.to(device)).tolist() == ranks.tolist()
    probabilities = softmax(logits.double().numpy(), axis=1)[np.arange(5), INDEX]
    torch.testing.assert_close(class_probability(logits, INDEX), torch.tensor(probabilities).float())


def test_equal_logits_are_chance() -> None:
    assert class_rank(torch.zeros(1, 7), torch.tensor([2])).tolist() == [4.0]
    assert class_probability(torch.zeros(1, 4), torch.tensor([2])).tolist() == [0.25]


def test_nan_stays_in_its_row() -> None:
    logits = noise(3, 7)
    logits[1, 5] = torch.nan
    for function in (class_rank, class_probability):
        assert function(logits, INDEX[:3]).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("function", [class_rank, class_probability])
def test_what_is_no_class_is_refused(function: object) -> None:
    assert callable(function)
    for wrong in (-1, 7):
        with pytest.raises(ValueError, match=f"classes from {min(wrong, 0)} to {max(wrong, 0)}; logits are of 0 to 6"):
            function(noise(2, 7), torch.tensor([0, wrong]))
    with pytest.raises(ValueError, match="2 rows of logits, but 1 classes"):
        function(noise(2, 7), torch.tensor([0]))
    assert function(noise(2, 7)[:0], torch.tensor([0])[:0]).shape == (0,)
