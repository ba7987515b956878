"""Several steps in a batch of Lightning's loop: as if each had been one of its own."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.optim import LBFGS

from lightning_fv import FeatureVisualizer, VisionNetwork, render, resolve_targets
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.optimization import step_block
from lightning_fv.runs.checkpoints import StepCheckpoint
from tests.helpers import TinyNet

STEPS = 45


class EveryStep(pl.Callback):
    """Expects to be called at every step, which keeps blocks from forming; notes the steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.steps.append(trainer.global_step)


class EveryBlock(EveryStep):
    """Notes the same, wherever blocks end."""

    def next_step(self, step: int) -> float:
        return math.inf


@pytest.fixture
def visualizer() -> FeatureVisualizer:
    return visualizer_of()


def visualizer_of(**settings: Any) -> FeatureVisualizer:
    network = VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(24, 20))
    return FeatureVisualizer(stage_steps=9, **settings).bind(network, resolve_targets("logits:0-2", network))


def fit(visualizer: FeatureVisualizer, *callbacks: pl.Callback, steps: int = STEPS, **options: Any) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(
        **{"max_steps": steps, "accelerator": "cpu", "logger": False, **quiet, **options}, callbacks=list(callbacks)
    )
    trainer.fit(visualizer)
    return trainer


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": lambda parameters: LBFGS(parameters, lr=0.1, max_iter=3)},
        {"diversity": 1.0, "transforms": [nn.Dropout2d(0.1)]},
    ],
    ids=["default", "LBFGS", "foreign"],
)
@pytest.mark.parametrize("options", [{}, {"gradient_clip_val": 0.1}, {"precision": "bf16-mixed"}], ids=str)
def test_the_same_bits_as_step_by_step(settings: dict[str, Any], options: dict[str, Any]) -> None:
    if "optimizer" in settings:
        network = VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(24, 20))
        recipe = FeatureVisualizer(stage_steps=9, **settings)
        one, other = (recipe.bind(network, resolve_targets("logits:0", network)) for _ in range(2))
    else:
        one, other = visualizer_of(**settings), visualizer_of(**settings)
    step_by_step, blocks = EveryStep(), EveryBlock()
    changes = [PeriodicBlur(every=7), ProgressiveUpscale(to=40, every=11)] if "optimizer" not in settings else []
    fit(one, step_by_step, *changes, **options)
    fit(other, blocks, *changes, **options)
    assert step_by_step.steps == list(range(1, STEPS + 1))
    assert len(blocks.steps) < 30
    assert torch.equal(one.pictures(), other.pictures())
    assert one.size == other.size
    assert torch.equal(one.dead_units.last_active_step, other.dead_units.last_active_step)


def test_blocks_end_where_something_has_to_happen(visualizer: FeatureVisualizer, tmp_path: Path) -> None:
    blocks = EveryBlock()
    logger = pl.loggers.TensorBoardLogger(tmp_path)
    fit(visualizer, blocks, PeriodicBlur(every=25), logger=logger, log_every_n_steps=10)
    # stages of 9 steps, the log after 10, 20, ..., and the step after a blur begins a block
    assert blocks.steps == [9, 10, 18, 20, 25, 27, 30, 36, 40, 45]
    events = EventAccumulator(str(logger.log_dir)).Reload().Scalars("objective")
    assert [event.step for event in events] == [9, 19, 29, 39]  # as Lightning counts: from 0


def test_log_and_counts_are_those_of_single_steps(tmp_path: Path) -> None:
    found = []
    for number, callback in enumerate((EveryStep(), EveryBlock())):
        logger = pl.loggers.TensorBoardLogger(tmp_path / str(number))
        visualizer = visualizer_of()
        trainer = fit(visualizer, callback, logger=logger, log_every_n_steps=10)
        events = EventAccumulator(str(logger.log_dir)).Reload()
        scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        loops = trainer.fit_loop.state_dict()
        # How often gradients were zeroed is counted, and saved, and used for nothing.
        del loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["zero_grad"]
        found.append((trainer.global_step, trainer.current_epoch, loops, scalars))
    alone, blocks = found
    assert alone == blocks


def test_a_block_ends_after_a_while(visualizer: FeatureVisualizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_block, "SECONDS", -1.0)
    blocks = EveryBlock()
    fit(visualizer, blocks)
    assert blocks.steps == list(range(1, STEPS + 1))


@pytest.mark.parametrize("stopped_at", [4, 9, 10, 18])
def test_resumed_from_a_checkpoint_inside_a_stage_and_at_its_end(stopped_at: int, tmp_path: Path) -> None:
    class Stop(EveryBlock):
        def next_step(self, step: int) -> float:
            return stopped_at if step < stopped_at else math.inf

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            super().on_train_batch_end(trainer, *args)
            if trainer.global_step == stopped_at:
                trainer.save_checkpoint(tmp_path / "step.ckpt")

    whole, stop = visualizer_of(), Stop()
    epochs = fit(whole, stop).current_epoch
    assert stopped_at in stop.steps
    rest = visualizer_of()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    blocks = EveryBlock()
    trainer = pl.Trainer(max_steps=STEPS, accelerator="cpu", logger=False, callbacks=[blocks], **quiet)  # type: ignore[arg-type]
    trainer.fit(rest, ckpt_path=tmp_path / "step.ckpt", weights_only=False)
    assert blocks.steps[0] > stopped_at
    assert len(blocks.steps) < 20
    assert trainer.global_step == STEPS
    assert trainer.current_epoch == epochs
    assert torch.equal(rest.pictures(), whole.pictures())


def test_dead_units_restart_within_blocks() -> None:
    class Dead(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x.mean((1, 2, 3), keepdim=True)[..., 0, 0] - 100)

    network = VisionNetwork(Dead(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))
    recipe = FeatureVisualizer(redirect_steps=2, stage_steps=64)
    one, other = (recipe.bind(network, resolve_targets("logits:0", network)) for _ in range(2))
    fit(one, EveryStep(), steps=40)
    fit(other, EveryBlock(), steps=40)
    assert other.dead_units.restarts.tolist() == one.dead_units.restarts.tolist() == [1]
    assert torch.equal(one.pictures(), other.pictures())


def test_who_expects_every_step(visualizer: FeatureVisualizer) -> None:
    class Own(FeatureVisualizer):
        def on_before_backward(self, loss: Tensor) -> None:
            pass

    def formed(module: pl.LightningModule = visualizer, *callbacks: pl.Callback, **options: Any) -> bool:
        module.trainer = pl.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=list(callbacks), **options
        )
        return step_block.can_form_blocks(module, FeatureVisualizer)

    quiet: dict[str, Any] = {"enable_checkpointing": False}
    assert formed(visualizer, PeriodicBlur(), **quiet)
    assert formed(visualizer, StepCheckpoint(Path("checkpoints"), 5.0))
    assert formed(precision="bf16-mixed", **quiet)
    assert not formed()  # with Lightning's ModelCheckpoint
    assert not formed(Own(), **quiet)
    assert not formed(visualizer, EveryStep(), **quiet)
    assert not formed(accumulate_grad_batches=2, **quiet)
    assert not formed(profiler="simple", **quiet)


def test_jobs_form_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody would notice that they don't."""
    from lightning_fv.optimization import visualizer as module

    formed: list[bool] = []

    def noted(*args: Any) -> bool:
        formed.append(step_block.can_form_blocks(*args))
        return formed[-1]

    monkeypatch.setattr(module, "can_form_blocks", noted)
    render("demo", "logits:0", steps=2, size=16, out=tmp_path / "run", accelerator="cpu", progress=False)
    render("demo", "logits:0", steps=2, size=16, accelerator="cpu", progress=True)
    assert formed == [True, True]
