"""Mirrored pictures."""

import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomFlip
from tests.helpers import smooth_photos


def test_each_picture_is_mirrored_by_its_own_draw() -> None:
    images = smooth_photos(9, 7)
    seen = RandomFlip(0.25)(images, torch.tensor([[0.24], [0.25]]))
    assert torch.equal(seen[0], torch.from_numpy(images[0].numpy()[..., ::-1].copy()))
    assert torch.equal(seen[1], images[1])


def test_probabilities_that_are_none() -> None:
    for probability in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match=r"RandomFlip needs a probability in \[0, 1\]"):
            RandomFlip(probability)
