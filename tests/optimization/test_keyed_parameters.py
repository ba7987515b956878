"""Kornia's augmentations: a picture depends on its own draws, in any batch and at any step; the draws are Kornia's own."""

from collections.abc import Callable
from pathlib import Path

import kornia.augmentation as augmentation
import numpy as np
import pytest
import torch
from kornia.augmentation import ColorJitter, ImageSequential, RandomAffine, RandomCrop
from torch import Tensor, nn

from lightning_fv import VisionNetwork, load_network, render
from lightning_fv.commands.main import main
from lightning_fv.errors import TransformError
from lightning_fv.functional import to_uint8
from lightning_fv.functional.random import BLOCK
from lightning_fv.optimization.keyed_parameters import KeyedParameters, in_order, takes_parameters
from lightning_fv.optimization.transform_pipeline import TransformPipeline
from lightning_fv.report import read_picture
from tests.helpers import TinyNet, noise

KEYS = ["logits:2", "layer3:0", "layer3:1 #2"]
SIZE = (3, 37, 29)

PARAMETRIC: dict[str, Callable[[], nn.Module]] = {
    "affine": lambda: RandomAffine(10.0, translate=(0.1, 0.1), scale=(0.8, 1.2), shear=5.0, p=1.0),
    "affine, half of the pictures": lambda: RandomAffine(10.0, p=0.5),
    "perspective": lambda: augmentation.RandomPerspective(0.3, p=1.0),
    "rotation": lambda: augmentation.RandomRotation(15.0, p=1.0),
    "thin plates": lambda: augmentation.RandomThinPlateSpline(0.2, p=1.0),
    "crop": lambda: RandomCrop((30, 24)),
    "padded crop": lambda: RandomCrop((37, 29), padding=3, padding_mode="reflect"),
    "crop, half of the batches": lambda: RandomCrop((30, 24), p=0.5),
    "warped crop": lambda: RandomCrop((30, 24), cropping_mode="resample"),
    "resized crop": lambda: augmentation.RandomResizedCrop((37, 29), scale=(0.5, 1.0)),
    "erasing": lambda: augmentation.RandomErasing(value=0.5, p=0.7),
    "jitter": lambda: ColorJitter(0.2, 0.2, 0.2, 0.1, p=1.0),
    "jiggle": lambda: augmentation.ColorJiggle(0.2, 0.2, 0.2, 0.1, p=0.8),
    "blur": lambda: augmentation.RandomGaussianBlur((5, 5), (0.1, 2.0), p=1.0),
    "noise": lambda: augmentation.RandomGaussianNoise(std=0.1, p=1.0),
    "shuffle": lambda: augmentation.RandomChannelShuffle(p=1.0),
    "sharpness": lambda: augmentation.RandomSharpness(0.8, p=1.0),
    "flip": lambda: augmentation.RandomHorizontalFlip(p=0.5),
    "same on batch": lambda: RandomAffine(10.0, p=1.0, same_on_batch=True),
}
ONE_BY_ONE: dict[str, Callable[[], nn.Module]] = {
    "elastic": lambda: augmentation.RandomElasticTransform((9, 9), (3.0, 3.0), p=0.8),
    "motion": lambda: augmentation.RandomMotionBlur((3, 7), 35.0, 0.5, p=1.0),
    "any of": lambda: ImageSequential(*parts(), random_apply=1),
    "sequence": lambda: ImageSequential(*parts()),
    "dropout": lambda: nn.Dropout2d(0.5),
}


def parts() -> list[nn.Module]:
    return [RandomAffine(10.0, p=1.0), ColorJitter(0.2, 0.2, 0.2, 0.1, p=1.0)]


ALL = PARAMETRIC | ONE_BY_ONE


def pictures() -> Tensor:
    return noise(3, *SIZE).sigmoid()


def seen(transform: nn.Module, keys: list[str], images: Tensor, steps: list[int], seed: int = 0) -> list[Tensor]:
    pipeline = TransformPipeline([transform], seed, keys, 37)
    return [pipeline(images, step) for step in steps]


@pytest.mark.parametrize("name", ALL)
def test_a_picture_is_the_same_alone_and_in_any_batch_in_a_run_and_at_one_step(name: str) -> None:
    images, steps = pictures(), [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1]
    together = seen(ALL[name](), KEYS, images, steps)
    torch.manual_seed(1)
    turned = seen(ALL[name](), KEYS[::-1], images.flip(0), steps)
    for number, step in enumerate(steps):
        assert torch.equal(turned[number].flip(0), together[number])
        for row, key in enumerate(KEYS):
            (alone,) = seen(ALL[name](), [key], images[row : row + 1], [step])
            assert torch.equal(alone[0], together[number][row]), (step, key)


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"dropout"}))
def test_gradients_pass_and_pictures_change(name: str) -> None:
    images = pictures().requires_grad_()
    views = seen(ALL[name](), KEYS, images, list(range(6)))
    sum((view.square().sum() for view in views), torch.zeros(())).backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()
    assert any(view.shape != images.shape or not torch.equal(view, images) for view in views)


@pytest.mark.parametrize("name", ["affine", "jitter", "noise", "elastic", "any of"])
def test_draws_depend_on_seed_key_and_step(name: str) -> None:
    images = pictures()[:1].expand(3, -1, -1, -1)
    (first, again, later), (other, *_) = (seen(ALL[name](), KEYS, images, [4, 4, 5], seed) for seed in (0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    two = TransformPipeline([ALL[name](), ALL[name]()], 0, KEYS, 37)(images, 4)  # two of a kind draw different numbers
    assert not torch.equal(two, TransformPipeline([ALL[name]()], 0, KEYS, 37)(first, 4))


def test_same_on_batch_is_the_same_for_all_pictures_and_targets() -> None:
    images = pictures()[:1].expand(3, -1, -1, -1)
    (view,) = seen(ALL["same on batch"](), KEYS, images, [3])
    assert torch.equal(view[0], view[1])
    (alone,) = seen(ALL["same on batch"](), ["logits:9"], images[:1], [3])
    assert torch.equal(alone[0], view[0])


@pytest.mark.parametrize("name", sorted(PARAMETRIC.keys() - {"same on batch", "crop, half of the batches"}))
def test_parameters_are_distributed_as_in_kornia(name: str) -> None:
    """2560 draws, of 40 pictures and 64 steps, against as many by Kornia; 5 standard errors are allowed."""
    transform, size = PARAMETRIC[name](), (3, 6, 5) if name == "noise" else SIZE
    assert takes_parameters(transform)
    parameters = KeyedParameters(transform, 0, [f"logits:{unit}" for unit in range(40)], "transform 0")
    found = [parameters.at(step, size) for step in range(64)]
    torch.manual_seed(0)
    drawn: dict[str, Tensor] = transform.forward_parameters((2560, *size))  # type: ignore[operator]
    assert found[0].keys() == drawn.keys()
    for key, theirs in drawn.items():
        assert found[0][key].dtype == theirs.dtype
        if key in ("forward_input_shape", "order"):
            assert found[0][key].shape == theirs.shape
            continue
        ours, theirs = (
            values.double().flatten(1)
            for values in (
                torch.cat([p[key].flatten(1) if p[key].ndim > 1 else p[key][:, None] for p in found]),
                theirs.view(2560, -1),
            )
        )
        assert ours.shape == theirs.shape
        std = theirs.std(0)
        assert (ours.mean(0) - theirs.mean(0)).abs().le(5 * std * (2 / 2560) ** 0.5 + 1e-6).all(), key
        assert (ours.std(0) - std).abs().le(0.15 * std + 1e-6).all(), key
        spread = theirs.amax(0) - theirs.amin(0)
        assert (ours.amax(0) - theirs.amax(0)).abs().le(0.3 * spread + 1e-6).all(), key
        assert (ours.amin(0) - theirs.amin(0)).abs().le(0.3 * spread + 1e-6).all(), key


def test_what_kornia_draws_once_for_a_batch_is_drawn_once_for_a_step() -> None:
    """The order of a jitter's operations, each in each place as often, and whether the batch is cropped."""
    jitter, crop = (
        KeyedParameters(PARAMETRIC[name](), 0, KEYS, "t") for name in ("jitter", "crop, half of the batches")
    )
    orders = torch.stack([jitter.at(step, SIZE)["order"] for step in range(1200)])
    assert (orders.sort(1).values == torch.arange(4)).all()
    shares = torch.stack([(orders == operation).double().mean(0) for operation in range(4)])
    assert shares.sub(0.25).abs().max() < 0.06  # 5 standard errors
    gates = torch.stack([crop.at(step, SIZE)["batch_prob"] for step in range(1200)])
    assert (gates == gates[:, :1]).all()
    assert abs(float(gates.mean()) - 0.5) < 0.07


def test_pictures_may_grow_within_a_run() -> None:
    """Lengths in pixels stay what they are, and fractions of the picture grow with it; what was drawn stays the same."""
    parameters = KeyedParameters(RandomAffine(10.0, translate=(0.1, 0.1)), 0, KEYS, "transform 0")
    small, large = parameters.at(5, (3, 20, 30)), parameters.at(5, (3, 40, 60))
    assert torch.equal(small["angle"], large["angle"])
    torch.testing.assert_close(2 * small["translations"], large["translations"])
    assert torch.equal(parameters.at(5, (3, 20, 30))["translations"], small["translations"])
    assert large["forward_input_shape"].tolist() == [3, 3, 40, 60]
    crop = TransformPipeline([RandomCrop((16, 16))], 0, KEYS, 37)
    assert [tuple(crop(torch.rand(3, 3, side, side), 5).shape[2:]) for side in (20, 40)] == [(16, 16)] * 2


def test_the_augmentation_and_the_global_generator_are_left_as_they_were() -> None:
    transform = RandomAffine(10.0, same_on_batch=True)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    seen(transform, KEYS, pictures(), [0, 70])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert transform.same_on_batch


def test_parts_of_a_sequence_are_transforms_of_their_own() -> None:
    affine, jitter, elastic = *parts(), augmentation.RandomElasticTransform()
    inner = ImageSequential(jitter, elastic)
    assert in_order([ImageSequential(affine, inner), nn.Sequential(affine)]) == [affine, jitter, elastic, affine]
    for whole in (
        nn.Sequential(affine, nn.AvgPool2d(2)),  # between its parts there need not be pictures
        nn.Sequential(),
        ImageSequential(affine, jitter, random_apply=True),
        ImageSequential(affine, jitter, random_apply=1),
    ):
        assert in_order([whole]) == [whole]
    together = seen(ImageSequential(*parts(), same_on_batch=True), KEYS, pictures()[:1].expand(3, -1, -1, -1), [0])
    assert torch.equal(together[0][0], together[0][2])


def test_a_subclass_is_applied_to_one_picture_at_a_time() -> None:
    """Its author may draw where the parameters do not say it."""

    class Noisy(RandomAffine):
        def apply_transform(self, input: Tensor, *args: object, **kwargs: object) -> Tensor:
            return super().apply_transform(input, *args, **kwargs) + torch.rand(len(input), 1, 1, 1)

    assert not takes_parameters(Noisy(10.0))
    (both,) = seen(Noisy(10.0), KEYS, pictures(), [2])
    (alone,) = seen(Noisy(10.0), KEYS[1:2], pictures()[1:2], [2])
    assert torch.equal(both[1], alone[0])


@pytest.mark.parametrize(
    "name", ["affine, half of the pictures", "crop, half of the batches", "jitter", "elastic", "any of"]
)
def test_a_rendered_picture_is_the_same_alone_and_with_others(name: str) -> None:
    network = VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))

    def images(targets: str) -> Tensor:
        return render(network, targets, steps=12, transforms=[ALL[name]()], progress=False).images

    together = images("logits:0-4")  # the network itself differs by 1e-7 with the size of a batch, other draws by 0.1
    torch.testing.assert_close(images("logits:3"), together[3:4], rtol=0, atol=1e-3)
    torch.testing.assert_close(images("logits:3+logits:1"), together[[3, 1]], rtol=0, atol=1e-3)


def test_on_the_command_line_and_continued_from_its_settings(tmp_path: Path) -> None:
    """By class path; the PNG of a target is the same from the settings of the run, and with others but for rounding."""
    transforms = (
        "[{class_path: kornia.augmentation.RandomAffine, init_args: {degrees: 10, translate: [0.1, 0.1], p: 1.0}}, "
        "{class_path: kornia.augmentation.RandomErasing, init_args: {p: 0.5, value: 0.5}}, "
        "{class_path: kornia.augmentation.ColorJitter, init_args: {brightness: 0.1, hue: 0.1}}]"
    )

    def png(name: str, *words: str) -> Tensor:
        run = tmp_path / name
        assert main([*words, "--trainer.max_steps", "8", "--out", str(run)]) == 0
        return torch.from_numpy(np.array(read_picture(run / "images" / "layer4-0003.png"))).int()

    alone = png("alone", "--targets", "layer4:3", "--model.transforms", transforms)
    assert torch.equal(png("again", "--config", str(tmp_path / "alone" / "config.yaml")), alone)
    others = png("others", "--targets", "layer4:1+layer4:3+layer4:5", "--model.transforms", transforms)
    assert float((others != alone).float().mean()) < 0.01
    assert int((others - alone).abs().max()) <= 1
    without = png("without", "--targets", "layer4:3", "--model.transforms", "[]")
    assert float((without - alone).abs().float().mean()) > 1


def test_what_render_writes_is_continued_on_the_command_line(tmp_path: Path) -> None:
    """And the job is the same: nothing is rendered again."""
    kornias = [RandomAffine(10.0, p=1.0, padding_mode="reflection"), PARAMETRIC["blur"](), ONE_BY_ONE["elastic"]()]
    rendered = render(
        load_network("demo"), "layer4:3", steps=4, transforms=kornias, out=tmp_path / "run", progress=False
    )
    words = ["--config", str(tmp_path / "run" / "config.yaml"), "--out"]
    assert main([*words, str(tmp_path / "again")]) == 0
    ids = [[path.name for path in (tmp_path / run / "jobs").iterdir()] for run in ("run", "again")]
    assert ids[0] == ids[1]
    again = np.array(read_picture(tmp_path / "again" / "images" / "layer4-0003.png"))
    assert (again == to_uint8(rendered.images)[0].permute(1, 2, 0).numpy()).all()


class Unsteady(nn.Module):
    """Crops by one or two pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images[..., int(torch.randint(1, 3, ())) :]


def test_pictures_of_several_sizes_are_refused() -> None:
    with pytest.raises(
        TransformError, match=r"Unsteady returned pictures of several sizes, \(1, 3, 37, 27\) and \(1, 3, 37, 28\)"
    ):
        seen(Unsteady(), KEYS, pictures(), list(range(9)))
