"""Counts the steps of a render one by one, and its end."""

import contextlib
import math
from typing import Any
from unittest import mock

import lightning.pytorch as pl

from lightning_fv.optimization.dead_units import DeadUnitMonitor
from tests.mock_device.ledger import Counts
from tests.mock_device.tensors import DeviceState


class Phases(pl.Callback):
    """What happens on the device in each step of one job and at its end.

    Pass it as the first of the callbacks, and call `close` after the render.

    Attributes:
        steps: by step; a step lasts from its first hook to that of the next one, with all logging in between.
        end: from the end of the last step to `close`.
    """

    def __init__(self, device: DeviceState) -> None:
        self.steps: dict[int, Counts] = {}
        self.end = Counts()
        self._device, self._now = device, Counts()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Phases":
        return self

    def settings(self) -> None:
        """None: it changes no picture."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._begin(self.steps.setdefault(trainer.global_step, Counts()))

    def on_train_end(self, *_: Any) -> None:
        self._begin(self.end)

    def close(self) -> None:
        self._device.ledger.stop(self._now)

    def _begin(self, counts: Counts) -> None:
        self.close()
        self._now = counts
        self._device.ledger.start(counts)


class StepsOfBlocks(Phases):
    """The same for steps that follow each other without Lightning's loop, as they do without a callback that counts each of them.

    Use as a context manager around the render. A step that begins a block has Lightning's loop and, as a rule, the log of the block before.
    """

    def __enter__(self) -> "StepsOfBlocks":
        begin = DeadUnitMonitor.restart  # the first that a step calls

        def counted(monitor: DeadUnitMonitor, step: int, *rest: Any) -> None:
            self._begin(self.steps.setdefault(step, Counts()))
            begin(monitor, step, *rest)

        self._patches = contextlib.ExitStack()
        self._patches.enter_context(mock.patch.object(DeadUnitMonitor, "restart", counted))
        self._patches.enter_context(mock.patch("lightning_fv.optimization.step_block.SECONDS", math.inf))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()
        self.close()

    def next_step(self, step: int) -> float:
        return math.inf

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Nothing: the step has not begun yet."""
