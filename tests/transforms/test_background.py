"""Random backgrounds: behind what is transparent, and nowhere else."""

import torch

from lightning_fv.transforms import RandomBackground
from tests.helpers import noise


def pictures(opacity: float) -> torch.Tensor:
    return torch.cat([noise(2, 3, 37, 29).sigmoid(), torch.full((2, 1, 37, 29), opacity)], 1)


def draws(channels: int = 3) -> torch.Tensor:
    return torch.rand(2, 16 * channels, generator=torch.Generator().manual_seed(0))


def test_opaque_pictures_stay_and_transparent_ones_are_all_background() -> None:
    torch.testing.assert_close(RandomBackground()(pictures(1.0), draws()), pictures(1.0)[:, :3])
    background = RandomBackground()(pictures(0.0), draws())
    assert 0 <= background.min() < 0.2
    assert 0.8 < background.max() <= 1
    half = RandomBackground()(pictures(0.5), draws())
    torch.testing.assert_close(half, (background + pictures(0.5)[:, :3]) / 2)


def test_a_background_depends_on_its_own_draws_alone() -> None:
    together = RandomBackground()(pictures(0.0), draws())
    alone = RandomBackground()(pictures(0.0)[1:], draws()[1:])
    assert torch.equal(together[1:], alone)
    assert (together[0] - together[1]).abs().mean() > 0.1


def test_any_number_of_channels() -> None:
    two = RandomBackground(2)
    assert two.draws == 32
    images = torch.zeros(2, 3, 8, 8)
    background = two(images, draws(2))
    assert background.shape == (2, 2, 8, 8)
    assert not torch.equal(background[:, 0], background[:, 1])


def test_neighbours_are_alike() -> None:
    """Four colours along a side of 64 pixels: no step between neighbours is larger than a sixteenth."""
    background = RandomBackground()(torch.zeros(2, 4, 64, 64), draws())
    assert float((background[..., 1:] - background[..., :-1]).abs().max()) <= 1 / 16
