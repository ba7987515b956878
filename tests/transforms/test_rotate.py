"""Rotations, against turns that need no interpolation."""

from typing import Any

import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomRotate, RandomWarp
from tests.helpers import noise


def test_quarter_turns_of_a_list() -> None:
    """Positive is clockwise; torch.rot90 counts counter-clockwise."""
    square = noise(4, 3, 12, 12).sigmoid()
    turned = RandomRotate(choices=[0, 90, -90, 180])(square, torch.tensor([[0.1], [0.3], [0.6], [0.9]]))
    for row, quarters in enumerate((0, -1, 1, 2)):
        torch.testing.assert_close(turned[row], torch.rot90(square[row], quarters, (1, 2)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("draw", [0.0, 0.2, 0.5, 1 - 2**-24])
def test_uniform_angles_are_the_warps(draw: float) -> None:
    images = noise(1, 3, 37, 29).sigmoid()
    warp = RandomWarp(pad=0.0, crop=0.0, rotate=15.0, scale=(1.0, 1.0))
    expected = warp(images, torch.tensor([[draw, 0.5, 0.5, 0.5]]))
    torch.testing.assert_close(RandomRotate(15.0)(images, torch.tensor([[draw]])), expected, atol=1e-5, rtol=0)


def test_corners() -> None:
    ones = torch.ones(1, 3, 20, 20)
    corners = {mode: float(RandomRotate(choices=[45], padding_mode=mode)(ones, torch.zeros(1, 1))[0, 0, 0, 0]) for mode in ("black", "grey", "border")}  # type: ignore[arg-type]  # fmt: skip
    assert corners == {"black": 0.0, "grey": 0.5, "border": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"largest": -1.0}, "largest of at least 0"),
        ({"choices": []}, "choices that are finite numbers"),
        ({"choices": [float("nan")]}, "choices that are finite numbers"),
        ({"padding_mode": "white"}, "padding_mode"),
    ],
    ids=str,
)
def test_angles_that_are_none(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RandomRotate(**wrong)
