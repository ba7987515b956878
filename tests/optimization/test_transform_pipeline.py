"""Transforms of any make: repeatable, in order, and refused if no gradient passes."""

import kornia.augmentation
import pytest
import torch
from torch import Tensor, nn

from lightning_fv import VisionNetwork, render
from lightning_fv.errors import TransformError
from lightning_fv.functional import KeyedUniforms
from lightning_fv.objectives import L2, Penalty
from lightning_fv.optimization.transform_pipeline import TransformPipeline
from lightning_fv.transforms import KeyedTransform, RandomNoise, RandomWarp
from tests.helpers import TinyNet, noise


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


class Bad(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> object:
        if self.how == "fails":
            raise RuntimeError("expected scalar type Double\nbut found Float")
        return {
            "detach": x.detach(),
            "list": [x],
            "grey": x.mean(1, keepdim=True),
            "flat": x.flatten(1),
            "half": x.half(),
            "complex": torch.complex(x, x),
        }[self.how]


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5).add_(0.1)


class InDouble(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double() * 0.5 + 0.1


class InFloat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5 + 0.1


class KeyedInPlace(KeyedTransform):
    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return images.mul_(0.5)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("detach", "no gradient passes"),
        ("list", "returned a list"),
        ("grey", "keep"),
        ("flat", "keep"),
        ("half", "Bad returned torch.float16 for torch.float32; return the type of its input"),
        ("complex", "Bad returned torch.complex64"),
        (
            "fails",
            r"the transforms \(Bad\) fail for pictures \(1, 3, 37, 29\) of torch.float32: expected scalar type Double but",
        ),
    ],
)
def test_a_transform_that_cannot_be_optimised_through_is_refused(network: VisionNetwork, how: str, told: str) -> None:
    with pytest.raises(TransformError, match=told):
        render(network, "logits:0", steps=2, transforms=[Bad(how)], progress=False)


def test_a_transform_may_work_in_place_and_in_double_precision(network: VisionNetwork) -> None:
    def images(*transforms: nn.Module) -> Tensor:
        penalties: list[Penalty] = [L2(3.0)]
        return render(
            network, "logits:0", steps=6, transforms=list(transforms), penalties=penalties, progress=False
        ).images

    plain = images(InFloat(), InFloat())
    assert torch.equal(images(InPlace(), InPlace()), plain)
    torch.testing.assert_close(images(InDouble(), InPlace()), plain, rtol=0, atol=1e-3)
    with pytest.raises(TransformError, match="KeyedInPlace changes its input in place; return new pictures"):
        images(KeyedInPlace())


def test_a_transform_that_makes_non_finite_pictures_is_refused_before_any_work(network: VisionNetwork) -> None:
    zero = kornia.augmentation.Normalize(mean=torch.full((3,), 0.5), std=torch.zeros(3))
    with pytest.raises(TransformError, match=r"the transform Normalize returns inf or NaN for finite pictures; check"):
        render(network, "logits:0", transforms=[RandomNoise(), zero, RandomWarp()], steps=1, progress=False)


def test_any_kornia_augmentation_is_a_transform_and_repeatable(network: VisionNetwork) -> None:
    def run() -> Tensor:
        transforms: list[nn.Module] = [
            kornia.augmentation.RandomAffine(10.0, p=1.0),
            kornia.augmentation.RandomGaussianNoise(std=0.05, p=1.0),
        ]
        return render(network, "logits:0-1", steps=5, transforms=transforms, progress=False).images

    first = run()
    torch.manual_seed(1)
    assert torch.equal(first, run())
    assert not torch.equal(first, render(network, "logits:0-1", steps=5, transforms=[], progress=False).images)


def test_draws_depend_on_seed_key_and_step_alone() -> None:
    images = noise(2, 3, 37, 29).sigmoid()

    def seen(seed: int, keys: list[str], step: int) -> Tensor:
        return TransformPipeline([RandomWarp(), RandomNoise()], seed, keys, 37)(images[: len(keys)], step)

    both = seen(0, ["a", "b"], 5)
    torch.manual_seed(99)
    assert torch.equal(both, seen(0, ["a", "b"], 5))
    torch.testing.assert_close(both[:1], seen(0, ["a"], 5))
    for other in (seen(1, ["a", "b"], 5), seen(0, ["c", "d"], 5), seen(0, ["a", "b"], 6)):
        assert not torch.allclose(both, other, atol=1e-2)


def test_the_global_generator_is_restored() -> None:
    pipeline = TransformPipeline([kornia.augmentation.RandomGaussianNoise(p=1.0)], 0, ["a"], 37)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    pipeline(noise(1, 3, 8, 9).sigmoid(), 0)
    assert torch.equal(torch.rand(4), expected)


def test_what_is_prepared_for_many_steps_is_what_a_step_would_compute() -> None:
    """At both ends of a block of steps, and for pictures that have grown in the middle of one."""
    keys, transforms = ["a", "b"], [RandomWarp(), RandomNoise()]
    pipeline = TransformPipeline(transforms, 3, keys, 32)
    for step, side in ((0, 32), (63, 32), (64, 32), (70, 48), (71, 48), (71, 32), (0, 32)):
        images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(step))
        expected = images
        for number, transform in enumerate(transforms):
            uniforms = KeyedUniforms(3, keys, f"transform {number}", transform.draws).at(step)
            expected = transform(expected, uniforms)
        assert torch.equal(pipeline(images, step), expected)


def test_a_block_of_steps_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    prepare = RandomWarp.prepare

    def counted(self: RandomWarp, uniforms: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
        sizes.append(size)
        return prepare(self, uniforms, size)

    monkeypatch.setattr(RandomWarp, "prepare", counted)
    pipeline = TransformPipeline([RandomWarp()], 0, ["a"], 32)
    for step in (0, 1, 63, 64, 65):
        pipeline(torch.rand(1, 3, 32, 32), step)
    pipeline(torch.rand(1, 3, 48, 48), 65)
    assert sizes == [(32, 32), (32, 32), (48, 48)]
