"""One line of progress, for a render or for a whole run."""

import contextlib
import math
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from lightning_fv.optimization.step_block import SECONDS
from lightning_fv.optimization.visualizer import FeatureVisualizer

_STEPS = "{l_bar}{bar}| {n_fmt}/{total_fmt} steps, {remaining} left, {rate_fmt}{postfix}"
_JOBS = "{percentage:3.0f}%|{bar}| {desc}"

INTERVAL, LOG_INTERVAL = 0.5, 30.0
"""Seconds between refreshes of a line that is drawn over the last one, and in a log file, where each stays."""


def _drawn_over() -> bool:
    """Whether what is written to standard error is drawn over by what follows a carriage return: a terminal or a notebook."""
    if sys.stderr is None:
        return False
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return sys.stderr.isatty() or "IPKernelApp" in getattr(shell, "config", {})


class RenderProgress(ProgressBar):
    """Progress of a render: steps, time left, mean objective, size of the pictures; of a run of several jobs: jobs done,
    pictures per second, time left.

    It is plain text, drawn over on a terminal and in a notebook; a log file gets a line now and then.

    With a Trainer of your own, like any progress bar: ``Trainer(callbacks=[RenderProgress()])``.

    Args:
        jobs: number of renders that share the line, one after another.
        pictures: number of pictures of all jobs.
        count_done: returns how many of the jobs are done, if other processes work on them too.
        interval: minimum time between refreshes, in seconds; default: `INTERVAL`, in a log file `LOG_INTERVAL`.
    """

    def __init__(
        self,
        jobs: int = 1,
        pictures: int = 0,
        count_done: Callable[[], int] | None = None,
        interval: float | None = None,
    ) -> None:
        super().__init__()
        self.jobs, self.pictures = jobs, pictures
        self.interval = interval if interval is not None else INTERVAL if _drawn_over() else LOG_INTERVAL
        self._count_done = count_done
        self._bar: tqdm[Any] | None = None
        self._refreshed = 0.0
        self.enable()
        self._done = count_done() if count_done is not None else 0
        self._start, self._done_before = time.monotonic(), self._done
        self._written = -1
        self._count_again = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> "RenderProgress":
        return self  # a terminal has one line

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = sys.stderr is not None  # as it is in a process without a console

    def job_done(self, done: int | None = None) -> None:
        """Count a job, whoever rendered it.

        Args:
            done: how many are known to be done now; by default they are counted.
        """
        if done is not None:
            self._done = max(self._done, done)
        elif self._count_done is None:
            self._done += 1
        else:
            self._done = self._count_done()
        if self.jobs > 1:
            self._show_jobs(0.0)

    def refresh(self) -> None:
        """Update how many jobs are done, at most once per interval."""
        if self._is_time() and self.jobs > 1:
            self._done = self._counted()
            self._show_jobs(0.0)

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            with self._drawing():
                self._bar.close()
            self._bar = None

    # -- hooks -------------------------------------------------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._trainer = weakref.proxy(
            trainer
        )  # which holds its callbacks: the circle would keep a job's pictures in memory

    def next_step(self, step: int) -> float:
        return math.inf if self.interval > SECONDS else step + 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled and trainer.is_global_zero:
            if self.jobs > 1:
                self._show_jobs(0.0)
            else:
                total, done = trainer.max_steps, trainer.global_step
                with self._drawing():
                    self._bar = self._tqdm(_STEPS, total=total, initial=done, unit="step")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._is_time():  # asking the device for the score every step would stall it
            return
        if self.jobs > 1:
            self._done = self._counted()
            self._show_jobs(trainer.global_step / trainer.max_steps)
        else:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.jobs == 1:
            self._show(trainer, pl_module)
            self.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.close()

    # -- drawing -----------------------------------------------------------------------------------------------------

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The line of a render."""
        if self._bar is None:
            return
        assert isinstance(pl_module, FeatureVisualizer)
        height, width = pl_module.size
        score = "" if pl_module.objective_values is None else f"score {float(pl_module.mean_objective()):.3g}, "
        with self._drawing():
            self._bar.set_postfix_str(f"{score}{height}x{width} px", refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)

    def _show_jobs(self, fraction: float) -> None:
        """The line of several jobs.

        Args:
            fraction: how much of its current job this process has rendered, 0 to 1.
        """
        if not self._enabled:
            return
        if self._done == self._written and not _drawn_over():
            return  # the log file of an overnight run must not fill with identical lines
        self._written = self._done
        seconds = max(time.monotonic() - self._start, 1e-9)
        finished = self._done - self._done_before + fraction  # jobs that were done before say nothing about the pace
        rate = finished * self.pictures / self.jobs / seconds
        left = tqdm.format_interval((self.jobs - self._done - fraction) * seconds / finished) if finished > 0 else "?"
        shown = min(self._done + fraction, self.jobs)
        text = f"{self._done}/{self.jobs} jobs, {rate:.3g} pictures/s, {left} left"
        with self._drawing():
            if self._bar is None:  # also after a job that failed has ended the line
                self._bar = self._tqdm(_JOBS, total=self.jobs, initial=shown, desc=text)
            else:
                self._bar.n = shown
                self._bar.set_description_str(text)

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """A line that cannot be written ends, and the render goes on: the terminal is closed, or nobody reads the pipe."""
        try:
            yield
        except (OSError, ValueError):  # ValueError: the stream is closed
            if self._bar is not None:
                self._bar.disable = True  # or it would try once more when it is deleted
            self._bar, self._enabled = None, False

    def _tqdm(self, form: str, **options: Any) -> "tqdm[Any]":
        return tqdm(file=sys.stderr, dynamic_ncols=True, mininterval=self.interval, bar_format=form, **options)

    def _counted(self) -> int:
        """How many jobs are done; looked up so rarely that counting takes at most a twentieth of the time."""
        now = time.monotonic()
        if self._count_done is not None and now >= self._count_again:
            self._done = max(self._done, self._count_done())
            self._count_again = now + 20 * (time.monotonic() - now)
        return self._done

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._refreshed < self.interval:
            return False
        self._refreshed = now
        return True
