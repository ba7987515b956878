"""Start small and grow: shapes first, detail later."""

import math
from typing import Any

import lightning.pytorch as pl

from lightning_fv.errors import UsageError, warn
from lightning_fv.optimization.size import check_blur, in_pixels
from lightning_fv.optimization.start import add_details
from lightning_fv.optimization.visualizer import FeatureVisualizer


class ProgressiveUpscale(pl.Callback):
    """Grow the pictures by a factor every k steps, from the visualizer's ``size`` up to ``to`` (Graetz 2019).

    Pictures that start from photos get those details of them that the smaller size did not show, not blurred.

    The size is a function of the step alone, so resuming needs no saved schedule.

    Args:
        to: final size of the longer side: pixels (int) or a fraction of the network's training size (float). The study
            ends at 400 px for a network trained at 224 px.
        factor: growth factor each time.
        every: steps between growths.
        blur: standard deviation of the Gaussian blur at each growth, a fraction of the longer side that the network was
            trained at; 0 for none.
    """

    def __init__(
        self, to: int | float = 400 / 224, factor: float = 1.1, every: int = 50, blur: float = 1 / 128
    ) -> None:
        if not 1 < factor < math.inf or every < 1 or not 0 <= blur < math.inf or not 0 < to < math.inf:
            raise UsageError(
                "ProgressiveUpscale needs finite numbers: to > 0, factor > 1, every >= 1, blur >= 0; "
                f"got to={to}, factor={factor}, every={every}, blur={blur}"
            )
        self.to, self.factor, self.every, self.blur = to, factor, every, blur

    def size_at(self, step: int, start: tuple[int, int], top: int) -> tuple[int, int]:
        """(height, width) of the pictures in a step.

        Args:
            step: optimizer steps done.
            start: size at step 0.
            top: the longer side at the end, in pixels.
        """
        try:
            growth = min(float(self.factor) ** (step // self.every), top / max(start))
        except OverflowError:  # a large factor after many steps
            growth = top / max(start)
        return round(start[0] * growth), round(start[1] * growth)

    def last_size(self, steps: int, start: tuple[int, int], reference: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels at the end of a render.

        Args:
            steps: length of the render.
            start: size at step 0.
            reference: (height, width) that a fraction ``to`` refers to: the network's training size.
        """
        return self.size_at(steps - 1, start, max(in_pixels(self.to, reference)))

    def check(self, start: tuple[int, int], reference: tuple[int, int]) -> None:
        """Check that pictures can grow.

        Args:
            start: (height, width) of the pictures at step 0, in pixels.
            reference: (height, width) that a fraction ``to`` refers to: the network's training size.

        Raises:
            UsageError: they are larger than ``to`` at the start, ``to`` is too large, or the blur spans the whole picture.
        """
        top = max(in_pixels(self.to, reference))
        check_blur(type(self).__name__, self.blur * max(reference), start)
        if top < max(start):
            raise UsageError(
                f"ProgressiveUpscale grows to {top} px, but the pictures start at {max(start)} px; "
                "set a smaller model.size (size= in Python) or a larger to"
            )

    def next_step(self, step: int) -> float:
        return (step // self.every + 1) * self.every

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        assert pl_module.network is not None
        self.check(pl_module.start_size, pl_module.network.input_size)
        top = self._top(pl_module)
        last = max(self.size_at(trainer.max_steps - 1, pl_module.start_size, top))
        if top == max(pl_module.start_size):
            warn(
                f"ProgressiveUpscale does nothing: the pictures are {top} px, as large as they may grow, from the start; "
                "set a smaller model.size (size= in Python) or a larger to",
            )
        elif last < top:
            warn(
                f"ProgressiveUpscale reaches {last} px in {trainer.max_steps} steps, not {top} px; "
                "use more steps, a smaller every or a larger factor",
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        size = self.size_at(trainer.global_step, pl_module.start_size, self._top(pl_module))
        before = pl_module.size
        if size != before:
            pl_module.resize(size)
            if self.blur:
                assert pl_module.network is not None
                pl_module.parameterization.blur(self.blur * max(pl_module.network.input_size))
            assert pl_module.chunked_objective is not None
            start = pl_module.chunked_objective.references.start
            if start is not None:
                rows = pl_module.dead_units.restarts == 0
                add_details(pl_module.parameterization, pl_module.guard, start, before, rows)

    def _top(self, visualizer: FeatureVisualizer) -> int:
        assert visualizer.network is not None
        return max(in_pixels(self.to, visualizer.network.input_size))
