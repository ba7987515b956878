"""Blur the pictures periodically, so that only high frequencies that raise the objective come back."""

import math
from typing import Any

import lightning.pytorch as pl

from lightning_fv.errors import UsageError
from lightning_fv.optimization.size import check_blur
from lightning_fv.optimization.visualizer import FeatureVisualizer


class PeriodicBlur(pl.Callback):
    """Blur the pictures before every k-th step; not after the last one, since no step would follow to sharpen them.

    Args:
        every: steps between blurs (300 in the study).
        sigma: standard deviation of the Gaussian, a fraction of the longer side that the network was trained at. The study
            does not give one.
    """

    def __init__(self, every: int = 300, sigma: float = 1 / 64) -> None:
        if every < 1 or not 0 < sigma < math.inf:
            raise UsageError(f"PeriodicBlur needs every >= 1 and a finite sigma > 0, got every={every}, sigma={sigma}")
        self.every, self.sigma = every, sigma
        self._acted = -1

    def check(self, start: tuple[int, int], reference: tuple[int, int]) -> None:
        """Check that pictures can be blurred.

        Args:
            start: (height, width) of the pictures at step 0, in pixels.
            reference: (height, width) of the network's training size.

        Raises:
            UsageError: the blur spans the whole picture.
        """
        check_blur(type(self).__name__, self.sigma * max(reference), start)

    def next_step(self, step: int) -> float:
        return (step // self.every + 1) * self.every

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        assert pl_module.network is not None
        self.check(pl_module.start_size, pl_module.network.input_size)
        self._acted = -1  # a render before this one may have ended with a blur

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        step = trainer.global_step
        # A step can have several batches (accumulate_grad_batches): act on its first.
        if step > 0 and step % self.every == 0 and step != self._acted:
            self._acted = step
            assert pl_module.network is not None
            pl_module.parameterization.blur(self.sigma * max(pl_module.network.input_size))
