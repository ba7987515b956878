"""The visualizer: what passes from picture to loss, and what it must not depend on."""

import kornia.augmentation
import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, render, resolve_targets
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.errors import CheckpointError, TransformError, UsageError
from lightning_fv.objectives import L1, L2, Channel, Layer, Logit, Neuron, Objective, Probability, TotalVariation
from lightning_fv.optimization.visualizer import in_pixels
from lightning_fv.parameterizations import Fourier, Parameterization, Pixel
from tests.helpers import TinyNet


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


def first_layer(network: VisionNetwork) -> str:
    return next(info.name for info in network.layers() if info.shape is not None and len(info.shape) == 4)


@pytest.mark.parametrize("parameterization", [Fourier(), Pixel()])
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
    assert {name.partition(".")[0] for name in bound.state_dict()} == {"parameterization", "guard"}
    bound.train()
    assert sum(p.numel() for p in bound.parameters()) == bound.parameterization.values.numel()


class Bad(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> object:
        return {"detach": x.detach(), "list": [x], "grey": x.mean(1, keepdim=True), "flat": x.flatten(1)}[self.how]


@pytest.mark.parametrize(
    ("how", "told"), [("detach", "no gradient passes"), ("list", "gave a list"), ("grey", "keep"), ("flat", "keep")]
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


@pytest.mark.parametrize("moments", ["reset", "resample"])
@pytest.mark.parametrize("parameterization", [Fourier(), Pixel()])
def test_growing_keeps_going(network: VisionNetwork, moments: str, parameterization: Parameterization) -> None:
    visualizer = FeatureVisualizer(parameterization, size=16, moments=moments)  # type: ignore[arg-type]
    grow = ProgressiveUpscale(to=41, factor=1.3, every=5, blur=0.3)
    rendering = render(network, "logits:0-1", visualizer=visualizer, callbacks=[grow], steps=40, progress=False)
    assert rendering.images.shape == (2, 3, 41, 41)
    begin = render(network, "logits:0-1", visualizer=visualizer, steps=1, progress=False)
    assert bool((rendering.scores > begin.scores).all())


def test_growing_moves_the_optimizer_to_the_new_parameter(network: VisionNetwork) -> None:
    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
            (parameter,) = pl_module.parameters()
            (group,) = trainer.optimizers[0].param_groups
            assert group["params"] == [parameter]
            assert set(trainer.optimizers[0].state) == {parameter}
            assert trainer.optimizers[0].state[parameter]["exp_avg"].shape == parameter.shape

    render(
        network, "logits:0", size=16, callbacks=[ProgressiveUpscale(to=30, every=2), Watch()], steps=12, progress=False
    )


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


def test_sizes_in_all_their_ways() -> None:
    assert in_pixels(40, (64, 48)) == (40, 40)
    assert in_pixels(0.5, (64, 48)) == (32, 24)
    assert in_pixels((9, 7), (64, 48)) == (9, 7)
    with pytest.raises(UsageError, match="less than one pixel"):
        in_pixels(0.001, (64, 48))


def test_a_checkpoint_of_other_targets_is_refused(network: VisionNetwork) -> None:
    one = FeatureVisualizer().bind(network, resolve_targets("logits:0", network))
    other = FeatureVisualizer().bind(network, resolve_targets("logits:1", network))
    checkpoint: dict[str, object] = {}
    one.on_save_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="targets"):
        other.on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="not made by"):
        other.on_load_checkpoint({})


def test_a_plain_module_needs_mean_and_std() -> None:
    with pytest.raises(UsageError, match="mean and std"):
        render(TinyNet(), "logits:0", steps=1, progress=False)
    rendering = render(TinyNet(), "logits:0", steps=1, size=(23, 31), mean=(0.5,) * 3, std=(0.2,) * 3, progress=False)
    assert rendering.images.shape == (1, 3, 23, 31)
