"""One bar for the whole render."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from lightning_fv.optimization.visualizer import FeatureVisualizer


class RenderProgress(ProgressBar):
    """Progress over all steps of the job: mean target score, picture size, time left.

    Args:
        interval: seconds between refreshes at least.
    """

    def __init__(self, interval: float = 0.5) -> None:
        super().__init__()
        self.interval = interval
        self._bar: tqdm[Any] | None = None
        self._enabled, self._refreshed = True, 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled and trainer.is_global_zero:
            self._bar = tqdm(
                total=trainer.max_steps,
                initial=trainer.global_step,
                unit="step",
                file=sys.stderr,
                dynamic_ncols=True,
                mininterval=self.interval,
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} steps, {remaining} left, {rate_fmt}{postfix}",
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()  # asking the device for the score every step would stall it
        if self._bar is not None and now - self._refreshed > self.interval:
            self._refreshed = now
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._show(trainer, pl_module)
            self._bar.close()
            self._bar = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._bar is not None
        assert isinstance(pl_module, FeatureVisualizer)
        height, width = pl_module.size
        score = "" if pl_module.objective_values is None else f"score {float(pl_module.mean_objective()):.3g}, "
        self._bar.set_postfix_str(f"{score}{height}x{width} px", refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)
