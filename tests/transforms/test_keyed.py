"""What every random transform of ours promises; what only one of them does is in its own file."""

from collections.abc import Callable

import pytest
import torch

import lightning_fv.transforms
from lightning_fv.transforms import (
    KeyedTransform,
    Pad,
    PreparedTransform,
    RandomBackground,
    RandomBlur,
    RandomCrop,
    RandomFlip,
    RandomJitter,
    RandomNoise,
    RandomRotate,
    RandomScale,
    RandomTranslate,
    RandomWarp,
    Resize,
)
from tests.helpers import smooth_photos

KINDS: list[Callable[[], KeyedTransform]] = [
    RandomWarp,
    lambda: RandomNoise(std=0.1),
    RandomCrop,
    lambda: RandomBackground(2),  # of three channels, the third is the opacity
    lambda: RandomBlur(0.02, 0.1),
    RandomFlip,
    lambda: RandomJitter(0.3),
    RandomRotate,
    RandomScale,
    lambda: RandomTranslate(-0.2, 0.2),
    lambda: Pad(0.1),
    Resize,
]
NOT_RANDOM = (Pad, Resize)


@pytest.fixture(params=KINDS, ids=lambda make: type(make()).__name__)
def transform(request: pytest.FixtureRequest) -> KeyedTransform:
    made: KeyedTransform = request.param()
    made.unit = 37
    return made


def draws(transform: KeyedTransform, count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, transform.draws, generator=torch.Generator().manual_seed(seed))


def test_all_of_the_room_are_asked() -> None:
    exported = [getattr(lightning_fv.transforms, name) for name in lightning_fv.transforms.__all__]
    ours = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, KeyedTransform)}
    assert ours - {KeyedTransform, PreparedTransform} == {type(make()) for make in KINDS}


def test_the_uniforms_decide_and_nothing_else(transform: KeyedTransform) -> None:
    images = smooth_photos(37, 29)
    first = transform(images, draws(transform, 2))
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    assert torch.equal(transform(images, draws(transform, 2)), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (transform.draws == 0) == isinstance(transform, NOT_RANDOM)
    others = [transform(images, draws(transform, 2, seed=seed)) for seed in range(1, 9)]
    assert all(torch.equal(other, first) for other in others) == isinstance(transform, NOT_RANDOM)


def test_a_picture_depends_on_its_own_row(transform: KeyedTransform) -> None:
    images, uniforms = smooth_photos(37, 29), draws(transform, 2)
    both = transform(images, uniforms)
    for row in range(2):
        alone = transform(images[row : row + 1], uniforms[row : row + 1])
        torch.testing.assert_close(alone[0], both[row], atol=1e-5, rtol=0)


def test_gradients_pass(transform: KeyedTransform) -> None:
    images = smooth_photos(37, 29).requires_grad_()
    transform(images, draws(transform, 2)).sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


def test_one_without_a_forward_says_so() -> None:
    with pytest.raises(NotImplementedError):
        KeyedTransform()(smooth_photos(8, 8), torch.zeros(2, 0))
