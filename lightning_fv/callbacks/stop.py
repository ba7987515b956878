"""Stop in good order when asked to."""

import contextlib
import os
import select
import signal
import socket
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch


class GracefulStop(pl.Callback):
    """SIGTERM, or Ctrl-C once: finish the step, save a checkpoint, end the fit. Ctrl-C twice: end at once.

    Attributes:
        received: the number of the signal that came first, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._step = 0
        self._before: dict[int, Any] = {}
        self._wakeup: tuple[socket.socket, socket.socket] | None = None
        self._wakeup_before = -1

    def settings(self) -> None:
        """None: changes no picture, so that no job's id depends on it."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            signal.signal(signal.SIGINT, self._stop)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step
        # Here again: Lightning has set its own handler since, which ends with code 1 and no checkpoint.
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        # Python runs handlers between bytecodes, and a backward pass may be seconds of none: then two signals become
        # one call. The wake-up descriptor gets a byte for each at once.
        self._wakeup = socket.socketpair()
        for end in self._wakeup:
            end.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup[1].fileno(), warn_on_full_buffer=False)
        threading.Thread(target=_exit_at_second_interrupt, args=(self._wakeup[0],), daemon=True).start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return  # in the middle of a step of several batches, whose gradients no checkpoint holds
        self._step = trainer.global_step
        if trainer.world_size > 1:  # all ranks must stop after the same step
            number = torch.tensor(self.received or 0, device=pl_module.device)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            self.received = int(number) or None
        if self.received is not None and not trainer.should_stop:
            trainer.should_stop = True
            checkpoint = trainer.checkpoint_callback
            folder = getattr(checkpoint, "dirpath", None)
            if folder and trainer.global_step < trainer.max_steps:
                trainer.save_checkpoint(Path(folder) / f"step={trainer.global_step}.ckpt")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            for end in reversed(self._wakeup):  # the writing end first: the thread reads the end of the stream
                end.close()
            self._wakeup = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received if self.received is not None else number


def _exit_at_second_interrupt(descriptor: socket.socket) -> None:
    interrupts = 0
    with contextlib.suppress(OSError, ValueError):  # closed at the end of the fit
        while select.select([descriptor], [], [])[0] and (numbers := descriptor.recv(64)):
            interrupts += numbers.count(signal.SIGINT)
            if interrupts > 1:
                os._exit(128 + signal.SIGINT)  # every file is written atomically: there is nothing to tidy
