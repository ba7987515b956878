"""The stylized twin's training pictures: shape stays, texture does not."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from textures import kuwahara, randomize_texture


def disk(inside: float, outside: float) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    return torch.where(y**2 + x**2 < 0.4, inside, outside).expand(1, 3, 64, 64).clone()


def test_kuwahara_flattens_noise_and_keeps_an_edge() -> None:
    clean = disk(0.8, 0.2)
    noisy = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    painted = kuwahara(noisy)
    assert (painted - clean).abs().mean() < 0.5 * (noisy - clean).abs().mean()
    step = painted[0, 0, 32].diff().abs().max()
    assert step > 0.5  # a blur as wide would leave 0.2


def test_kuwahara_of_one_colour_is_that_colour() -> None:
    assert torch.allclose(kuwahara(torch.full((1, 3, 9, 9), 0.3)), torch.full((1, 3, 9, 9), 0.3))


def test_colours_come_from_the_other_photo_and_shape_from_its_own() -> None:
    pictures = torch.cat([disk(0.9, 0.6), torch.full((1, 3, 64, 64), 0.1)])
    generator = torch.Generator().manual_seed(0)
    means, contrast = [], []
    for _ in range(40):
        made = randomize_texture(pictures, generator, share=1.0)
        means.append(float(made[1].mean()))
        contrast.append(float(made[0, :, 28:36, 28:36].mean() - made[0, :, :4, :4].mean()))
    assert max(means) > 0.3  # the grey one took the other's light
    assert sum(c > 0.05 for c in contrast) > 15  # the disk is still a disk unless it is recoloured by the plain one


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_changed_photos(share: float) -> None:
    photos = torch.rand(400, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    made = randomize_texture(photos, torch.Generator().manual_seed(2), share)
    changed = (made != photos).flatten(1).any(1).float().mean()
    assert float(changed) == pytest.approx(share, abs=0.08)


def test_draws_are_the_generators_alone() -> None:
    photos = torch.rand(8, 3, 32, 32)
    first, second = (randomize_texture(photos, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
