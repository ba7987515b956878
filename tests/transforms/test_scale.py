"""Scales, against planes, of which every scaled one is a plane too."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomScale


def plane(height: int, width: int) -> Tensor:
    """Rises by 1 a row and by 100 a column from its centre, (1, 3, height, width)."""
    rows = (torch.arange(height) - (height - 1) / 2).view(-1, 1) + 100.0 * (torch.arange(width) - (width - 1) / 2)
    return rows.expand(1, 3, -1, -1)


def measured(made: RandomScale, *draws: float) -> tuple[float, float]:
    """Factors of width and height, from the slopes in the middle of a scaled plane."""
    seen = made(plane(41, 31), torch.tensor([draws]))[0, 0]
    y, x = seen.shape[0] // 2, seen.shape[1] // 2
    return 100 / float(seen[y, x] - seen[y, x - 1]), 1 / float(seen[y, x] - seen[y - 1, x])


def test_uniform_between_both_ends() -> None:
    made = RandomScale(0.8, 1.6)
    assert [measured(made, draw) for draw in (0.0, 0.5, 1 - 2**-24)] == [
        pytest.approx((factor, factor), abs=1e-3) for factor in (0.8, 1.2, 1.6)
    ]


def test_one_of_a_list() -> None:
    made = RandomScale(choices=[1.0, 0.75, 1.25])
    assert [measured(made, draw)[0] for draw in (0.1, 0.5, 0.9)] == pytest.approx([1.0, 0.75, 1.25], abs=1e-3)


def test_height_and_width_of_their_own() -> None:
    made = RandomScale(0.5, 1.5, per_axis=True)
    assert made.draws == 2
    assert measured(made, 0.25, 0.75) == pytest.approx((0.75, 1.25), abs=1e-3)


def test_the_window_is_the_pictures_unless_all_are_smaller() -> None:
    assert RandomScale(0.9, 1.1).window((40, 30)) == (40, 30)
    assert RandomScale(choices=[0.9, 1.5]).window((40, 30)) == (40, 30)
    assert RandomScale(0.7, 0.8).window((40, 30)) == (32, 24)
    assert RandomScale(choices=[0.5, 0.6]).window((40, 30)) == (24, 18)
    ones = torch.ones(1, 3, 40, 30)
    largest = RandomScale(0.7, 0.8, padding_mode="black")(ones, torch.tensor([[1 - 2**-24]]))
    assert float(largest[..., 1:-1, 1:-1].min()) > 0.999  # filled to its edge
    smaller = RandomScale(0.5, 1.0, padding_mode="black")(ones, torch.tensor([[0.0]]))
    assert float(smaller[..., :9, :].max()) == 0.0
    assert float(smaller.mean()) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"smallest": 0.0}, "0 < smallest <= largest"),
        ({"smallest": 1.2}, "0 < smallest <= largest"),
        ({"largest": float("inf")}, "0 < smallest <= largest"),
        ({"choices": []}, "choices that are finite numbers above 0"),
        ({"choices": [1.0, -1.0]}, "choices that are finite numbers above 0"),
        ({"padding_mode": "white"}, "padding_mode"),
    ],
    ids=str,
)
def test_scales_that_are_none(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RandomScale(**wrong)
