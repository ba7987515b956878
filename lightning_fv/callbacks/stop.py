"""Stops between two steps on request."""

import math
from collections.abc import Callable

import lightning.pytorch as pl
import torch

from lightning_fv.runs.checkpoints import save_step


class GracefulStop(pl.Callback):
    """When asked to stop, finish the step, save a checkpoint, and end the fit.

    Args:
        asked: called between steps, about every fifth of a second; returns the number of the signal to stop for, or None.
    """

    def __init__(self, asked: Callable[[], int | None]) -> None:
        self.asked = asked
        self.received: int | None = None
        self._step = 0

    def settings(self) -> None:
        """None: this callback changes no picture, so job ids do not depend on it."""

    def next_step(self, step: int) -> float:
        return math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return  # in the middle of accumulating gradients, which checkpoints do not hold
        self._step = trainer.global_step
        self.received = self.asked()
        if trainer.world_size > 1:  # all ranks must stop after the same step
            number = torch.tensor(self.received or 0, device=pl_module.device)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            self.received = int(number) or None
        if self.received is not None and not trainer.should_stop:
            trainer.should_stop = True
            save_step(trainer)
