"""Transforms of any make: repeatable, in order, and refused if no gradient passes."""

import kornia.augmentation
import pytest
import torch
from torch import Tensor, nn

from lightning_fv import VisionNetwork, render
from lightning_fv.errors import TransformError
from lightning_fv.optimization.transform_pipeline import TransformPipeline
from lightning_fv.transforms import RandomNoise, RandomWarp
from tests.helpers import TinyNet, noise


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


class Bad(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> object:
        return {"detach": x.detach(), "list": [x], "grey": x.mean(1, keepdim=True), "flat": x.flatten(1)}[self.how]


@pytest.mark.parametrize(
    ("how", "told"), [("detach", "no gradient passes"), ("list", "returned a list"), ("grey", "keep"), ("flat", "keep")]
)
def test_a_transform_that_cannot_be_optimised_through_is_refused(network: VisionNetwork, how: str, told: str) -> None:
    with pytest.raises(TransformError, match=told):
        render(network, "logits:0", steps=2, transforms=[Bad(how)], progress=False)


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
