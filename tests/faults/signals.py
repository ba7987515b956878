"""A run that sends signals to itself: a test that watches from outside comes too late on a machine with other work."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

VARIABLE = "LIGHTNING_FV_TEST_SIGNALS"
SENDING = "--trainer.callbacks+=tests.faults.signals.SendSignals"


class SendSignals(pl.Callback):
    """Sends its own process real signals, as the environment says; without that it does nothing.

    ``SIGTERM@47``: after the 47th step; ``SIGINT,SIGINT@images/*.png``: when there is one more file of such a name in the
    run folder, 20 ms apart. The variable and no argument says so, because another argument would be another run.
    """

    def __init__(self) -> None:
        super().__init__()
        signals, _, self._moment = os.environ.get(VARIABLE, "").partition("@")
        self._signals = [signal.Signals[name] for name in signals.split(",") if name]

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._moment == str(trainer.global_step):
            self._send()

    def setup(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._moment and not self._moment.isdigit():
            threading.Thread(target=self._watch, args=[Path(trainer.default_root_dir)], daemon=True).start()

    def _watch(self, folder: Path) -> None:
        there = set(folder.glob(self._moment))
        while not set(folder.glob(self._moment)) - there:
            time.sleep(0.001)
        self._send()

    def _send(self) -> None:
        for number in self._signals:
            os.kill(os.getpid(), number)
            time.sleep(0.02)  # two of a kind that wait become one
