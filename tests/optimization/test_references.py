"""What pictures are compared with: read, resized, transformed like them, and told apart in a batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, render, resolve_targets
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.errors import FeatureVisualizationError, TargetError, UsageError
from lightning_fv.functional import resize_images
from lightning_fv.objectives import Caricature, Channel, Inversion, LayerDistance, Logit
from lightning_fv.objectives.base import Activations, Objective
from lightning_fv.optimization.references import References
from lightning_fv.parameterizations import Pixel
from tests.helpers import TinyNet, noise, save_picture, smooth_photos

PHOTOS = smooth_photos(24, 20)
CPU = torch.device("cpu")


def tiny() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20), name="tiny")


def references(targets: list[Any], penalties: tuple[Objective, ...] = (), start: Tensor | None = None) -> References:
    return References(resolve_targets(targets, tiny()), penalties, start, 3)


def test_each_target_has_its_own_photo(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", PHOTOS[0])
    targets = [Inversion("conv1", tmp_path / "a.png"), "logits:0", Logit(1) - Caricature("conv2", PHOTOS[1])]
    found = references(targets).at((24, 20), CPU)
    assert list(found) == ["photo"]
    torch.testing.assert_close(found["photo"][[0, 2]], PHOTOS, rtol=0, atol=1 / 255)
    assert bool((found["photo"][1] == 0.5).all())


def test_they_have_the_size_of_the_pictures() -> None:
    both = references([Inversion("conv1", photo) for photo in PHOTOS], (LayerDistance("conv1"),), PHOTOS.flip(0))
    for size in ((24, 20), (48, 40), (12, 12)):
        found = both.at(size, CPU)
        assert found is both.at(size, CPU)
        torch.testing.assert_close(found["photo"], resize_images(PHOTOS, size).clamp(0, 1))
        torch.testing.assert_close(found["start"], resize_images(PHOTOS.flip(0), size).clamp(0, 1))
    assert references(["logits:0-1"], start=PHOTOS).at((24, 20), CPU) == {}


def test_what_cannot_be_compared_is_told_in_one_line() -> None:
    for targets, penalties, told in (
        (["logits:0"], (LayerDistance("conv1"),), "LayerDistance compares pictures with those that they start from"),
        (
            [Logit(0) - LayerDistance("conv1")],
            (),
            r"Logit\(0\) - LayerDistance\('conv1'\) compares .*; give --start FILE",
        ),
    ):
        with pytest.raises(UsageError, match=told):
            references(targets, penalties)
    with pytest.raises(TargetError, match="compares one picture with the photo and the photo; one of them can be"):
        references([Inversion("conv1", PHOTOS[0]) + Inversion("conv2", PHOTOS[1])])
    references([Inversion("conv1", PHOTOS[0]) + Inversion("conv2", PHOTOS[0])])


def test_a_run_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    options: dict[str, Any] = {"steps": 1, "progress": False, "out": tmp_path / "run"}
    for targets, penalties, told in (
        ("logits:0", [LayerDistance("conv1")], "they start from noise; give --start FILE"),
        (Inversion("conv1", tmp_path / "text.jpg"), None, "is not a picture in a format that Pillow reads"),
        ("logits:0", [LayerDistance("conv9")], "no layer 'conv9'"),
        (Inversion("conv9", PHOTOS[0]), None, "no layer 'conv9'"),
    ):
        with pytest.raises(FeatureVisualizationError, match=told):
            render(tiny(), targets, penalties=penalties, **options)  # type: ignore[arg-type]
        assert not (tmp_path / "run").exists()


def same(activations: Activations, images: Tensor) -> Tensor:
    return -(activations["conv1"] - activations["conv1 of the start"]).square().flatten(1).sum(1)


def test_both_pass_through_the_same_transforms() -> None:
    """A picture that has not moved has no distance, however it is turned, shifted and made noisy."""
    network = tiny()
    targets = resolve_targets([Inversion("conv1", photo) for photo in PHOTOS], network)
    bound = FeatureVisualizer(Pixel(), penalties=[LayerDistance("conv2")]).bind(network, targets, start=PHOTOS)
    with network.frozen():
        for draw in range(3):
            assert bound.loss(0, draw).item() == pytest.approx(0, abs=1e-5)
    moved = FeatureVisualizer(Pixel()).bind(network, targets, start=PHOTOS.flip(0))
    with network.frozen():
        assert moved.loss(0, 0).item() > 0.1


def test_their_activations_have_no_gradient_and_other_targets_are_as_without() -> None:
    network = tiny()
    alone = resolve_targets("logits:0+conv1:3", network)
    among = resolve_targets(
        [Inversion("conv1", PHOTOS[0]), "logits:0", Caricature("conv2", PHOTOS[1]), "conv1:3"], network
    )
    images = noise(4, 3, 24, 20).sigmoid()
    with network.frozen():
        few = FeatureVisualizer().bind(network, alone).chunked_objective
        many = FeatureVisualizer().bind(network, among).chunked_objective
        assert few is not None
        assert many is not None
        shown = {kind: pictures.requires_grad_() for kind, pictures in many.references.at((24, 20), CPU).items()}
        by_many = many(images, images, references=shown)
        by_few = few(images[[1, 3]], images[[1, 3]])
    torch.testing.assert_close(by_many.objectives[[1, 3]], by_few.objectives)
    torch.testing.assert_close(by_many.by_seen[[1, 3]], by_few.by_seen)
    assert shown["photo"].grad is None


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_chunks_are_the_whole(chunk: int) -> None:
    network = tiny()
    targets = resolve_targets(
        [Inversion("conv1", PHOTOS[0]), "logits:0", Inversion("conv1", PHOTOS[1]), "logits:2"], network
    )
    start, images = PHOTOS[[1, 0, 1, 0]], noise(4, 3, 24, 20).sigmoid()
    found = []
    with network.frozen():
        for size in (None, chunk):
            recipe = FeatureVisualizer(penalties=[LayerDistance("conv2", 2.0)], chunk=size)
            objective = recipe.bind(network, targets, start=start).chunked_objective
            assert objective is not None
            found.append(objective(images, images, references=objective.references.at((24, 20), CPU)))
    for name in ("objectives", "by_seen", "penalty"):
        torch.testing.assert_close(getattr(found[1], name), getattr(found[0], name), rtol=1e-4, atol=1e-6, msg=name)


def test_penalties_on_activations_are_shares_of_the_objective() -> None:
    """Against autograd of o - |o| w d, with |o| held fixed."""
    network = tiny()
    targets = resolve_targets([Channel("conv1", 3), 3.0 * Logit(0)], network)
    images = noise(2, 3, 24, 20).sigmoid().requires_grad_()
    penalties = [LayerDistance("conv2", 0.7), LayerDistance("conv1", 0.2)]
    objective = FeatureVisualizer(penalties=list(penalties)).bind(network, targets, start=PHOTOS).chunked_objective
    assert objective is not None
    with network.frozen():
        gradient = objective(images, images, references=objective.references.at((24, 20), CPU))
        seen, start = (network.activations(x, ["conv1", "conv2", "logits"]) for x in (images, PHOTOS))
        values = torch.stack([seen["conv1"][0, 3].mean(), 3 * seen["logits"][1, 0]])
        given = {**seen, **{f"{name} of the start": found.detach() for name, found in start.items()}}
        penalty = values.detach().abs() * (penalties[0](given, images) + penalties[1](given, images))
        (expected,) = torch.autograd.grad((values - penalty).sum(), images)
    torch.testing.assert_close(gradient.objectives, values.detach())
    assert gradient.penalty is not None
    torch.testing.assert_close(gradient.penalty, penalty.detach())
    torch.testing.assert_close(gradient.by_seen, expected, rtol=1e-4, atol=1e-6)


def test_growth_compares_at_every_size() -> None:
    grow = ProgressiveUpscale(to=48, every=4, factor=2.0, blur=0.0)
    targets = [Inversion("conv1", photo) for photo in smooth_photos(48, 40)]
    options: dict[str, Any] = {"steps": 40, "size": (24, 20), "transforms": [], "progress": False}
    grown = render(tiny(), targets, callbacks=[grow], **options)
    assert grown.images.shape == (2, 3, 48, 40)
    assert bool((grown.scores > -0.5).all())
    with pytest.raises(AssertionError):
        torch.testing.assert_close(grown.images[0], grown.images[1], rtol=0, atol=0.1)


def test_the_score_is_that_of_the_plain_picture() -> None:
    targets = [Inversion("layer3", photo) for photo in smooth_photos(64, 64)]
    rendering = render("demo", targets, steps=3, progress=False)
    network = load_network("demo")
    with network.frozen(), torch.no_grad():
        found, wanted = (
            network.activations(x, ["layer3"])["layer3"] for x in (rendering.images, smooth_photos(64, 64))
        )
    expected = -(found - wanted).square().sum((1, 2, 3)) / wanted.square().sum((1, 2, 3))
    torch.testing.assert_close(rendering.scores, expected, rtol=1e-3, atol=1e-4)
