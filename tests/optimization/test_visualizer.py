"""The visualizer: what passes from picture to loss, and what it must not depend on."""

import json
from collections.abc import Callable
from typing import Any

import kornia.augmentation
import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, render, resolve_targets
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.errors import UsageError
from lightning_fv.objectives import L1, L2, Channel, Layer, Logit, Neuron, Objective, Probability, TotalVariation
from lightning_fv.parameterizations import CPPN, Fourier, LaplacianPyramid, Parameterization, Pixel
from lightning_fv.transforms import RandomNoise, study_warp
from tests.helpers import TinyNet, noise


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


def first_layer(network: VisionNetwork) -> str:
    return next(info.name for info in network.layers() if info.shape is not None and len(info.shape) == 4)


@pytest.mark.parametrize("parameterization", [Fourier(), Pixel(), LaplacianPyramid(), CPPN()])
def test_every_objective_rises(network: VisionNetwork, parameterization: Parameterization) -> None:
    layer = first_layer(network)
    objectives: list[Objective] = [
        Logit(1), Probability(2), Channel(layer, 1), Neuron(layer, 2, 3, 4), Layer(layer), Logit(0) - Logit(3),
    ]  # fmt: skip
    begin = render(network, objectives, steps=1, parameterization=parameterization, progress=False)
    end = render(network, objectives, steps=30, parameterization=parameterization, progress=False)
    assert bool((end.scores > begin.scores).all()), (begin.scores, end.scores)
    assert end.images.shape == (6, 3, 37, 29)
    assert 0 <= float(end.images.min()) < float(end.images.max()) <= 1


def test_penalties_pull_the_picture(network: VisionNetwork) -> None:
    def distance(penalties: list[object]) -> float:
        images = render(network, "logits:0", steps=40, penalties=penalties, progress=False).images  # type: ignore[arg-type]
        return float((images - 0.5).abs().mean())

    free = distance([])
    assert distance([L1(200.0)]) < 0.7 * free
    assert distance([L2(200.0)]) < 0.7 * free
    rough = render(network, "logits:0", steps=40, progress=False).images
    smooth = render(network, "logits:0", steps=40, penalties=[TotalVariation(200.0)], progress=False).images
    assert float(TotalVariation().measure(smooth)) < 0.7 * float(TotalVariation().measure(rough))


def where(targets: str | list[Neuron], transforms: list[nn.Module], size: int) -> Tensor:
    """Centre of each target's gradient, (B, 2): y and x in heights and widths of the picture; the mean of many draws."""
    network = load_network("demo")
    visualizer = FeatureVisualizer(transforms=transforms, size=size)
    bound = visualizer.bind(network, resolve_targets(targets, network, (size, size)))  # type: ignore[arg-type]
    total = torch.zeros(len(bound.targets), size, size)
    with network.frozen():
        for draw in range(24):
            images = (0.5 + 0.1 * noise(len(total), 3, size, size, seed=draw)).requires_grad_()
            values = bound.objectives(bound.transform(images, draw), images, 0)
            total += torch.autograd.grad(values.sum(), images)[0].abs().sum(1)
    places = (torch.arange(size) + 0.5) / size
    weight = total.sum((1, 2))
    return torch.stack([total.sum(2) @ places / weight, total.sum(1) @ places / weight], 1)


@pytest.mark.parametrize(
    ("transforms", "size"), [([study_warp()], 64), ([], 112), ([study_warp()], 112)], ids=["warped", "grown", "both"]
)
def test_a_neuron_stays_at_its_place_where_the_map_is_larger(transforms: list[nn.Module], size: int) -> None:
    positions = [(0, 0), (0, 15), (4, 8), (14, 4), (15, 15)]  # of 16x16 at the training size
    text = "+".join(f"layer2:12@{y},{x}" for y, x in positions)
    absolute = [Neuron("layer2", 12, y, x) for y, x in positions]
    plain = where(text, [], 64)
    assert torch.equal(plain, where(absolute, [], 64))
    assert (where(text, transforms, size) - plain).abs().max() < 1 / 16
    assert (where(absolute, transforms, size) - plain).abs().max() > 1 / 16


@pytest.mark.parametrize(("size", "side", "rows"), [(64, 5, [0, 1, 3, 4]), (112, 8, [1, 3, 5, 7])])
def test_the_neuron_that_is_read_in_the_studys_window(size: int, side: int, rows: list[int]) -> None:
    network = load_network("demo")
    targets = resolve_targets("+".join(f"layer4:12@{y},{3 - y}" for y in range(4)), network)
    bound = FeatureVisualizer(transforms=[study_warp()], size=size).bind(network, targets)
    seen = bound.transform(bound.pictures(), 0)
    with network.frozen():
        maps = network.activations(seen, ["layer4"])["layer4"].detach().requires_grad_()
    assert maps.shape == (4, 256, side, side)
    for number, target in enumerate(targets):
        (gradient,) = torch.autograd.grad(target.objective({"layer4": maps}, seen)[number], maps)
        assert gradient.nonzero().tolist() == [[number, 12, rows[number], rows[3 - number]]]


def test_a_grown_picture_is_scored_at_the_neurons_place() -> None:
    network = load_network("demo")
    grow = ProgressiveUpscale(to=112, factor=1.75, every=4)
    rendering = render(network, "layer4:12@1,3", steps=8, callbacks=[grow], progress=False)
    with network.frozen(), torch.no_grad():
        maps = network.activations(rendering.images, ["layer4"])["layer4"]
    assert maps.shape == (1, 256, 7, 7)
    assert float(rendering.scores[0]) == pytest.approx(float(maps[0, 12, 2, 6]), rel=1e-4)
    assert float(maps[0, 12, 2, 6]) != pytest.approx(float(maps[0, 12, 1, 3]), rel=1e-2)


class Tilt(nn.Module):
    """Gives another size, and a gradient that is not the same everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (2, 1, 0, 3)) * torch.linspace(0.5, 1.5, x.shape[-1] + 3)


def test_the_loss_is_minus_the_sum_of_objectives_less_penalties(network: VisionNetwork) -> None:
    """Value and gradient against plain autograd through picture, transform and network."""
    targets = resolve_targets(["logits:0", "logits:3", Logit(1) - 2.0 * L2()], network)
    recipe = FeatureVisualizer(transforms=[Tilt()], penalties=[L1(3.0)], redirect_steps=0, chunk=2)
    bound = recipe.bind(network, targets)
    images = bound.parameterization()
    with network.frozen():
        logits = network(Tilt()(images))
        objectives = torch.stack([logits[0, 0], logits[1, 3], logits[2, 1] - 2.0 * (images[2] - 0.5).square().mean()])
        expected = -objectives.sum() + 3.0 * (images - 0.5).abs().mean((1, 2, 3)).sum()
        (gradient,) = torch.autograd.grad(expected, list(bound.parameters()))
        loss = bound.loss(step=0, draw=0)
        (found,) = torch.autograd.grad(loss, list(bound.parameters()))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, gradient)
    torch.testing.assert_close(bound.objective_values, objectives.detach())


def test_a_run_does_not_change_the_settings(network: VisionNetwork) -> None:
    recipe = FeatureVisualizer(Pixel(), transforms=[kornia.augmentation.RandomAffine(5.0), RandomNoise()])
    rendering = render(network, "logits:0", visualizer=recipe, steps=2, progress=False)
    assert rendering.recipe["recipe"] == recipe.describe()
    bound = recipe.bind(network, resolve_targets("logits:0", network))
    bound.transform(bound.pictures(), 0)
    assert bound.describe() == recipe.describe()
    json.dumps(bound.describe(), allow_nan=False)


def test_a_picture_does_not_depend_on_its_batch_mates(network: VisionNetwork) -> None:
    alone = render(network, "logits:2", steps=10, progress=False)
    among = render(network, "logits:0-4", steps=10, progress=False)
    torch.testing.assert_close(among.images[2:3], alone.images, rtol=0, atol=1e-3)
    torch.testing.assert_close(among.scores[2:3], alone.scores, rtol=0.02, atol=0)
    cut = render(network, "logits:0-4", steps=10, batch_size=2, progress=False)
    torch.testing.assert_close(among.images, cut.images, rtol=0, atol=1e-3)


def test_same_job_gives_the_same_bits_and_seeds_differ(network: VisionNetwork) -> None:
    one, two = (render(network, "logits:0-1", steps=5, seed=3, progress=False).images for _ in range(2))
    assert torch.equal(one, two)
    torch.manual_seed(99)  # the global generator has no say
    assert torch.equal(one, render(network, "logits:0-1", steps=5, seed=3, progress=False).images)
    assert not torch.equal(one, render(network, "logits:0-1", steps=5, seed=4, progress=False).images)


def test_the_network_is_as_it_was(network: VisionNetwork) -> None:
    module = network.module
    module.train()
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    next(module.parameters()).requires_grad_(False)
    flags = [m.training for m in module.modules()], [p.requires_grad for p in module.parameters()]
    before = {k: v.clone() for k, v in module.state_dict().items()}
    strides = [p.stride() for p in module.parameters()]
    seen: list[bool] = []
    own = module.register_forward_hook(lambda m, a, o: seen.append(m.training))
    hooks = len(module._forward_hooks)
    render(network, "logits:0-3", steps=3, progress=False)
    assert ([m.training for m in module.modules()], [p.requires_grad for p in module.parameters()]) == flags
    assert [p.stride() for p in module.parameters()] == strides
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert len(module._forward_hooks) == hooks
    assert all(not m._forward_hooks for m in module.modules() if m is not module)
    assert seen
    assert not any(seen)
    own.remove()


def test_nothing_of_the_network_is_in_the_checkpoint(network: VisionNetwork, tmp_path: object) -> None:
    bound = FeatureVisualizer().bind(network, resolve_targets("logits:0", network))
    assert {name.partition(".")[0] for name in bound.state_dict()} == {"parameterization", "guard", "dead_units"}
    bound.train()
    assert sum(p.numel() for p in bound.parameters()) == bound.parameterization.values.numel()


def test_accumulated_batches_count_as_one_step(network: VisionNetwork) -> None:
    """Blur and growth act once per optimizer step, however many batches it has."""
    bound = FeatureVisualizer(Pixel(), size=16, stage_steps=6).bind(network, resolve_targets("logits:0", network))
    blurs: list[int] = []

    class Count(PeriodicBlur):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
            before = self._acted
            super().on_train_batch_start(trainer, pl_module, *args)  # type: ignore[arg-type]
            if self._acted != before:
                blurs.append(trainer.global_step)

    trainer = pl.Trainer(
        max_steps=7, max_epochs=-1, accumulate_grad_batches=3, callbacks=[Count(every=2)], accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with network.frozen():
        trainer.fit(bound)
    assert blurs == [2, 4, 6]


def test_a_plain_module_needs_mean_and_std() -> None:
    with pytest.raises(UsageError, match="mean and std"):
        render(TinyNet(), "logits:0", steps=1, progress=False)
    rendering = render(TinyNet(), "logits:0", steps=1, size=(23, 31), mean=(0.5,) * 3, std=(0.2,) * 3, progress=False)
    assert rendering.images.shape == (1, 3, 23, 31)


def test_a_visualizer_without_network_says_so(network: VisionNetwork) -> None:
    visualizer, images = FeatureVisualizer(), torch.zeros(1, 3, 8, 8)
    trainer = pl.Trainer(max_steps=1, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    calls: list[Callable[[], object]] = [
        lambda: trainer.fit(visualizer),
        visualizer.pictures,
        lambda: visualizer.loss(0, 0),
        lambda: visualizer.transform(images, 0),
        lambda: visualizer.objectives(images, images, 0),
        lambda: visualizer.rehearse([]),
        lambda: visualizer.resize((4, 4)),
    ]
    for call in calls:
        with pytest.raises(
            UsageError, match=r"has no network and no targets yet; use what bind\(network, targets\) returns"
        ):
            call()
    targets: Any = "logits:0"
    for wrong in ((network, targets), ("demo", resolve_targets(targets, network))):
        with pytest.raises(UsageError, match="bind takes a VisionNetwork and Targets"):
            visualizer.bind(*wrong)
