"""Padding, against NumPy's."""

from typing import Any

import numpy as np
import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.transforms import Pad
from tests.helpers import smooth_photos


@pytest.mark.parametrize(
    ("mode", "name", "values"),
    [
        ("reflection", "reflect", {}),
        ("border", "edge", {}),
        ("grey", "constant", {"constant_values": 0.5}),
        ("black", "constant", {"constant_values": 0.0}),
    ],
)
def test_pads_every_side(mode: Any, name: Any, values: dict[str, Any]) -> None:
    made, images = Pad(0.05357, mode), smooth_photos(37, 29)
    assert made.draws == 0
    padded = made(images, torch.zeros(2, 0))  # 12 px of 224
    assert torch.equal(
        padded, torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (12, 12), (12, 12)), name, **values))
    )


def test_widths_that_are_none() -> None:
    for pad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="Pad needs a finite pad of at least 0"):
            Pad(pad)
    with pytest.raises(UsageError, match="Pad cannot reflect 29 px of pictures of 37x29 px"):
        Pad(29 / 224, "reflection")(smooth_photos(37, 29), torch.zeros(2, 0))
    with pytest.raises(UsageError, match="Pad pads pictures to 22437 px, more than 16384"):
        Pad(50.0)(smooth_photos(37, 29), torch.zeros(2, 0))
    with pytest.raises(UsageError, match="padding_mode"):
        Pad(0.1, "white")  # type: ignore[arg-type]
