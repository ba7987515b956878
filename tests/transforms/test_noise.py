"""Noise: its strength, and whose it is."""

import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.transforms import RandomNoise


def test_noise_has_the_asked_strength_and_is_keyed_by_picture() -> None:
    noise = RandomNoise(std=0.2)
    images = torch.full((3, 3, 65, 43), 0.5)
    draws = torch.tensor([[0.1, 0.2, 0.3], [0.7, 0.9, 0.8], [0.1, 0.2, 0.9]])
    added = noise(images, draws) - images
    assert added.mean().abs() < 0.01
    torch.testing.assert_close(added.std((1, 2, 3)), torch.full((3,), 0.2), rtol=0.03, atol=0)
    correlation = torch.corrcoef(added.flatten(1))
    assert correlation[0, 1].abs() < 0.05
    torch.testing.assert_close(added[0], -added[2])  # the same place, the other sign
    torch.testing.assert_close(noise(images[1:2], draws[1:2])[0] - images[1], added[1])


def test_noise_at_both_ends_of_its_draws_and_for_pictures_larger_than_its_tile() -> None:
    noise = RandomNoise(std=0.1)
    for draw in (0.0, 1 - 2**-24):
        assert noise(torch.zeros(1, 3, 600, 520), torch.full((1, 3), draw)).isfinite().all()
    with pytest.raises(UsageError, match="std of at least 0"):
        RandomNoise(-0.1)
