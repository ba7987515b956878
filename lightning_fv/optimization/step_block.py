"""Several steps in one batch of Lightning's loop, which takes about a millisecond a batch, a small step only a few."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from lightning_fv.functional import constant

SECONDS = 0.2
"""A block of steps ends after this time, so that signals, checkpoints and the progress bar need not wait longer."""

Work = Callable[[int | Tensor, int | None], None]
"""Does a step, given the number of steps done and that of the random draw; None for a draw that is held."""

HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
"""What Lightning calls in every batch."""


@runtime_checkable
class ActsBetweenBlocks(Protocol):
    """A callback whose hooks need not be called at every step."""

    def next_step(self, step: int) -> float:
        """The first step after ``step`` that has to begin a block; infinity if it does not matter."""


def can_form_blocks(module: pl.LightningModule, base: type[pl.LightningModule]) -> bool:
    """Whether several steps in a batch make no difference that anyone could see: on one device, without a loss scale, a schedule, accumulated
    gradients, a profiler, or a hook that expects to be called at every step.

    Args:
        module: at the start of its training.
        base: class of the module, whose own hooks expect no such thing; those of a subclass may.
    """
    trainer, precision = module.trainer, module.trainer.precision_plugin
    plain = type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None)
    return (
        plain
        and isinstance(trainer.strategy, SingleDeviceStrategy)
        and trainer.accumulate_grad_batches == 1
        and not trainer.lr_scheduler_configs
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        and not _overrides(module, base, ("training_step", *HOOKS))
        and all(
            isinstance(callback, ActsBetweenBlocks) or not _overrides(callback, pl.Callback, HOOKS)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        )
    )


def _overrides(part: object, base: type, names: Sequence[str]) -> bool:
    return any(getattr(type(part), name) is not getattr(base, name) for name in names)


def finish_block(
    module: pl.LightningModule,
    begin_step: Callable[[int], None],
    loss: Callable[[int | Tensor, int | None], Tensor],
    end_step: Callable[[], None],
    do: Callable[[int, Work], None] | None = None,
) -> None:
    """Do further steps after one that Lightning has just done, until something has to happen between two steps.

    To be called at the end of `LightningModule.optimizer_step`. Lightning's counts of steps and batches, its logs and its checkpoints are
    as if each step had been a batch of its own.

    Args:
        module: of a Trainer that `can_form_blocks`.
        begin_step: called before each step, with the number of steps done.
        loss: gives the loss of a step, from the steps done and the number of the random draw.
        end_step: called after each step.
        do: does a step by means of what it is given, which does it at once; default: calls that.
    """
    trainer, optimizer = module.trainer, module.trainer.optimizers[0]
    started, loop = time.monotonic(), trainer.fit_loop.epoch_loop
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    begin = min(
        (c.next_step(trainer.global_step) for c in trainer.callbacks if isinstance(c, ActsBetweenBlocks)),  # type: ignore[attr-defined]
        default=math.inf,
    )

    def work(step: int | Tensor, draw: int | None) -> None:
        optimizer.step(partial(_closure, module, optimizer, partial(loss, step, draw)))  # type: ignore[arg-type]
        end_step()

    while not loop.batch_progress.is_last_batch and not trainer.should_stop:
        done = trainer.global_step + 1  # Lightning counts the present step later
        if done in (begin, trainer.max_steps) or (every and done % every == 0) or time.monotonic() - started > SECONDS:
            return
        _next_batch(trainer)
        begin_step(done)
        if do is None:
            work(done, done)
        else:
            do(done, work)


@torch.enable_grad()
def _closure(module: pl.LightningModule, optimizer: Optimizer, loss: Callable[[], Tensor]) -> Tensor:
    """What Lightning hands to an optimizer, which may call it several times in a step."""
    trainer = module.trainer
    with trainer.precision_plugin.train_step_context():
        value = loss()
    optimizer.zero_grad()
    one = constant((1.0,), value.device, value.dtype)[0]  # what `backward` begins with, made once
    value.backward(one)  # type: ignore[no-untyped-call]
    module.on_before_optimizer_step(optimizer)
    module.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
    return value


def _next_batch(trainer: pl.Trainer) -> None:
    """Count a step and its batch as done and the next ones as begun, like Lightning's loop."""
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None
    steps = loop.automatic_optimization.optim_progress.optimizer.step
    steps.increment_completed()
    loop.batch_progress.increment_processed()
    loop.batch_progress.increment_completed()
    loop._batches_that_stepped += 1
    next(fetcher)
    loop.batch_progress.is_last_batch = fetcher.done
    loop.batch_progress.increment_ready()
    loop.batch_progress.increment_started()
    steps.increment_ready()
