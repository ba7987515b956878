"""Non-finite pictures: handled one by one, the rest of the batch unchanged, all state in the checkpoint."""

import math
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, VisionNetwork, resolve_targets
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.objectives import L1, L2, LOGITS, Objective
from lightning_fv.objectives.base import Activations
from lightning_fv.optimization.nonfinite import NONFINITE_LIMIT, NonFiniteGuard
from lightning_fv.parameterizations import CPPN, Fourier, LaplacianPyramid, Parameterization, Pixel
from tests.engines.runs import plan_of, work
from tests.helpers import TinyNet, noise


class _BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bad: Tensor) -> Tensor:
        ctx.save_for_backward(bad)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.where(ctx.saved_tensors[0], torch.inf, grads[0]), None


class Flawed(Objective):
    """Logit 1, which breaks above a limit, as a square root or an exponential does: in its value or its gradient."""

    def __init__(self, limit: float, how: str = "both") -> None:
        self.limit, self.how = limit, how

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((LOGITS,))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        one = activations[LOGITS][:, 1]
        bad = one.detach() > self.limit
        if self.how == "gradient":
            return cast(Tensor, _BadGradient.apply(one, bad))
        if self.how == "both":
            return one * torch.where(bad, torch.nan, 1.0)
        return one + torch.where(bad, torch.nan if self.how == "value" else torch.inf, 0.0)  # the gradient stays 1

    def __repr__(self) -> str:
        return f"Flawed({self.how!r})"  # the limit has no say in the random draws


class Never(Objective):
    """A unit that never fires."""

    layers = frozenset((LOGITS,))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return (activations[LOGITS][:, 2] * 0 - 1).relu()

    def __repr__(self) -> str:
        return "Never()"


def tiny() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))


def five(limit: float, how: str = "both") -> list[Any]:
    """Five targets, of which number 1 breaks above a limit."""
    return ["logits:0", Flawed(limit, how), "logits:2-4"]


def run(targets: Any, recipe: FeatureVisualizer | None = None, **options: Any) -> Any:
    """Records and pictures of one job."""
    chosen = {"max_steps": 30, **options}
    (result,) = work(plan_of(targets, 16, recipe=recipe or FeatureVisualizer(), network=tiny(), **chosen))
    return result


def limit_of(how: str = "both", recipe: FeatureVisualizer | None = None, **options: Any) -> float:
    """A value of logit 1 that a healthy run passes on its way."""
    begin, end = (
        run(Flawed(math.inf, how), recipe, **{**options, **steps}).records[0].score for steps in ({"max_steps": 1}, {})
    )
    assert end > begin
    return float((begin + end) / 2)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulate": {"accumulate_grad_batches": 3, "max_steps": 12},
    "clip": {"gradient_clip_val": 0.001, "gradient_clip_algorithm": "value"},
    "grow and blur": {"callbacks": [ProgressiveUpscale(to=40, factor=1.2, every=6), PeriodicBlur(every=7)]},
}


@pytest.mark.parametrize(
    ("parameterization", "how", "options"),
    [
        *((parameterization(), "both", options) for parameterization in (Fourier, Pixel) for options in OPTIONS),
        (LaplacianPyramid(3), "both", "grow and blur"),
        (CPPN(4, 8), "gradient", "plain"),
        *((Fourier(), how, "plain") for how in ("value", "gradient", "infinite")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_others_are_bitwise_as_beside_a_harmless_one(
    parameterization: Parameterization, how: str, options: str
) -> None:
    chosen = OPTIONS[options]
    recipe = FeatureVisualizer(parameterization, penalties=[L2(0.1), L1(0.1)], size=(24, 20))
    limit = limit_of(how, recipe, **chosen)
    healthy = run(five(math.inf, how), recipe, **chosen)
    broken = run(five(limit, how), recipe, **chosen)
    others = [0, 2, 3, 4]
    assert torch.equal(healthy.pictures[others], broken.pictures[others])
    assert [healthy.records[row].score for row in others] == [broken.records[row].score for row in others]
    assert {broken.records[row].status for row in others} == {"done"}
    bad = broken.records[1]
    assert not torch.equal(healthy.pictures[1], broken.pictures[1])
    assert bool(broken.pictures.isfinite().all())
    assert bad.score is not None
    assert math.isfinite(bad.score)


def test_a_picture_that_is_nonfinite_again_and_again_is_frozen_and_reported_as_diverged() -> None:
    limit = limit_of(max_steps=40)
    result = run(five(limit), max_steps=120)
    assert [record.status for record in result.records] == ["done", "diverged", "done", "done", "done"]
    begin = run(Flawed(math.inf), max_steps=1).records[0].score
    assert result.records[1].score > (begin + limit) / 2  # it came close before, by ever smaller steps


def test_a_picture_that_is_never_finite_keeps_its_start() -> None:
    result = run(five(-math.inf), max_steps=NONFINITE_LIMIT + 1)
    assert [record.status for record in result.records] == ["done", "diverged", "done", "done", "done"]
    start = FeatureVisualizer().bind(tiny(), resolve_targets(five(math.inf), tiny())).pictures()
    assert torch.equal(result.pictures[1], start[1])
    assert result.records[1].score is None


def test_clipping_by_norm_sees_no_nan() -> None:
    """Of one picture: several are refused."""
    result = run(Flawed(limit_of()), gradient_clip_val=0.01, gradient_clip_algorithm="norm")
    assert bool(result.pictures.isfinite().all())
    assert math.isfinite(result.records[0].score)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=3.0, momentum=0.9),
        lambda p: torch.optim.RMSprop(p, lr=0.05),
        lambda p: torch.optim.Rprop(p, lr=0.01),
    ],
)
def test_no_optimizer_is_poisoned(optimizer: Any) -> None:
    """After one non-finite gradient the score rises again, since the optimizer's state of the row is finite."""

    class Once(pl.Callback):
        def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, _: object) -> None:
            if trainer.global_step == 5:
                values = next(pl_module.parameters())
                assert values.grad is not None
                values.grad[1, 0] = torch.tensor([torch.nan, torch.inf, -1e30]).repeat(100)[
                    : values.grad.shape[2], None, None
                ]

        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            state = trainer.optimizers[0].state[next(pl_module.parameters())]
            assert all(bool(v.isfinite().all()) for v in state.values() if isinstance(v, Tensor))
            assert pl_module.guard.nonfinite_count.tolist() == [0, 1, 0]  # type: ignore[union-attr, operator]
            assert pl_module.guard.step_scale.tolist() == [1, 0.5, 1]  # type: ignore[union-attr]

    recipe = FeatureVisualizer(optimizer=optimizer)
    early = run("logits:0-2", recipe, max_steps=5)
    late = run("logits:0-2", recipe, max_steps=40, callbacks=[Once()])
    assert {record.status for record in late.records} == {"done"}
    assert late.records[1].score > early.records[1].score


def test_each_nonfinite_gradient_halves_the_steps() -> None:
    guard, values = NonFiniteGuard(), nn.Parameter(noise(3, 2, 5))
    guard.reset(values)
    before = values.detach().clone()
    for bad in (torch.nan, 1e30):  # the square of the second is infinite
        values.grad = torch.ones_like(values)
        values.grad[1, 0, 0] = bad
        guard.before_step(values)
        assert values.grad[:, 1, 1].tolist() == [1, 0, 1]
        guard.after_step(values)
        assert torch.equal(values, before)
    values.grad = torch.ones_like(values)
    guard.before_step(values)
    with torch.no_grad():
        values += 1.0
    guard.after_step(values)
    torch.testing.assert_close(values - before, torch.tensor([1.0, 0.25, 1.0]).view(3, 1, 1).expand(3, 2, 5))


@pytest.mark.parametrize(
    "parameterization",
    [Fourier(decay=1.5), Pixel(), LaplacianPyramid(), CPPN(4, 8)],
    ids=lambda parameterization: type(parameterization).__name__,
)
def test_a_resume_from_any_step_is_bitwise_the_same(tmp_path: Path, parameterization: Parameterization) -> None:
    """Non-finite events, shortened steps, restarts and redirected ReLUs, with growth: all in the checkpoint."""

    def bound() -> FeatureVisualizer:
        return FeatureVisualizer(parameterization, size=(18, 16), stage_steps=5).bind(network, targets)

    def fit(module: FeatureVisualizer, steps: int, **arguments: Any) -> None:
        blur = 1 / 128 if parameterization.can_blur else 0.0
        callbacks = [ProgressiveUpscale(to=30, factor=1.1, every=9, blur=blur), *arguments.pop("callbacks", [])]
        trainer = pl.Trainer(max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_progress_bar=False,
                             enable_model_summary=False, enable_checkpointing=len(callbacks) > 1, callbacks=callbacks)  # fmt: skip
        with network.frozen():
            trainer.fit(module, weights_only=True, **arguments)

    network = tiny()
    targets = resolve_targets(["logits:0", Flawed(limit_of(max_steps=24)), Never()], network)
    whole = bound()
    fit(whole, 52, callbacks=[ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=7, save_top_k=-1)])
    assert whole.guard.nonfinite_count[1] > 0
    assert whole.dead_units.restarts.tolist() == [0, 0, 3]
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) == 7
    for checkpoint in checkpoints:
        resumed = bound()
        fit(resumed, 52, ckpt_path=checkpoint)
        assert torch.equal(resumed.pictures(), whole.pictures()), checkpoint
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), (checkpoint, name)


def test_within_a_step_only_the_first_evaluation_counts() -> None:
    """LBFGS evaluates the objective where a line search tries it: there the pictures must stay as they are."""
    guard, values = NonFiniteGuard(), nn.Parameter(noise(3, 2, 5))
    guard.reset(values)
    before = values.detach().clone()
    for row in (None, 1, 1, 1, 1, 1):
        values.grad = torch.ones_like(values)
        if row is not None:
            values.grad[row, 0, 0] = torch.nan
        guard.before_step(values)
        assert values.grad[:, 1, 1].tolist() == [1, row is None, 1]
        with torch.no_grad():
            values += 1.0
    assert guard.nonfinite_count.tolist() == [0, 0, 0]
    assert torch.equal(guard.last_finite, before)
    guard.after_step(values)
    values.grad = torch.full_like(values, torch.nan)
    guard.before_step(values)
    assert guard.nonfinite_count.tolist() == [1, 1, 1]


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
@pytest.mark.parametrize("how", ["both", "value", "gradient"])
def test_lbfgs_ends_with_a_finite_picture_and_its_record(how: str, line_search: str | None) -> None:
    def make(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(parameters, lr=0.02, max_iter=4, line_search_fn=line_search)

    recipe = FeatureVisualizer(size=(24, 20), optimizer=make)
    begin, end = (run(Flawed(math.inf, how), recipe, max_steps=steps).records[0].score for steps in (1, 12))
    assert end > begin
    bad = run(Flawed((begin + end) / 2, how), recipe, max_steps=12)
    assert bool(bad.pictures.isfinite().all())
    assert (bad.records[0].status in ("done", "diverged"), bad.records[0].error) == (True, None)
    assert (
        bad.records[0].score is None or bad.records[0].score < end
    )  # None where the picture breaks without transforms
