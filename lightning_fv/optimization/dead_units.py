"""Restarts pictures whose unit is dead: exactly 0 and without gradient."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_fv.functional import keyed_generator
from lightning_fv.optimization.nonfinite import NonFiniteGuard
from lightning_fv.parameterizations import Parameterization

DEAD_STEPS = 16
"""Consecutive inactive steps after which a picture is restarted, and the interval between checks, in steps."""

MAX_RESTARTS = 3
"""Maximum number of restarts of a picture."""


class DeadUnitMonitor(nn.Module):
    """Tracks how long each picture's unit has been inactive, and which pictures to restart from new noise.

    All state is held in tensors, so that no step waits for the device, and is part of the state dict.

    Attributes:
        last_active_step: (B,) last step in which each unit was active; the step before the start if it never was.
        restarts: (B,) how often each picture was restarted.
        start_step: (B,) step at which each picture was last started.
    """

    last_active_step: Tensor
    restarts: Tensor
    start_step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reset(0, torch.device("cpu"))

    def reset(self, count: int, device: torch.device) -> None:
        """Forget everything; ``count`` pictures start at step 0."""
        for name in ("last_active_step", "restarts", "start_step"):
            self.register_buffer(name, torch.zeros(count, dtype=torch.long, device=device))
        self.last_active_step -= 1
        self._latest_start = 0

    def record_activity(self, active: Tensor, step: int | Tensor) -> None:
        """Record which units were active, (B,) bool, in a batch of a step; a step may have several batches."""
        self.last_active_step.masked_fill_(active, step)

    def rows_to_restart(self, step: int, diverged: Tensor) -> list[int]:
        """Pictures that have been inactive for `DEAD_STEPS` steps. Waits for the device, so do not call it every step.

        Args:
            step: optimizer steps done.
            diverged: (B,) bool, pictures that are no longer updated and so not restarted either.
        """
        inactive = step - 1 - self.last_active_step >= DEAD_STEPS
        restart: list[bool] = (inactive & (self.restarts < MAX_RESTARTS) & ~diverged).tolist()
        return [row for row, due in enumerate(restart) if due]

    def record_restart(self, rows: Sequence[int], step: int) -> None:
        """Record that ``rows`` restart at ``step``, the next one."""
        for row in rows:
            self.restarts[row] += 1
            self.start_step[row], self.last_active_step[row] = step, step - 1
        self._latest_start = step

    def restart(
        self,
        step: int,
        parameterization: Parameterization,
        keys: Sequence[tuple[object, ...]],
        guard: NonFiniteGuard,
        optimizers: Iterable[Optimizer],
    ) -> None:
        """Every `DEAD_STEPS` steps, restart pictures whose unit has been inactive from new noise, with the optimizers' moments zeroed.

        Args:
            step: optimizer steps done.
            parameterization: of the pictures.
            keys: what each picture's noise depends on, besides how often it was restarted.
            guard: tells which have diverged.
            optimizers: those that hold state for the pictures.
        """
        rows = self.rows_to_restart(step, guard.diverged) if step > 0 and step % DEAD_STEPS == 0 else []
        if not rows:
            return
        noise = [keyed_generator(*keys[row], int(self.restarts[row]) + 1) for row in rows]
        parameterization.restart(rows, noise)
        zero_moments(parameterization.values, rows, optimizers)
        guard.last_finite[rows] = parameterization.values.detach()[rows]
        self.record_restart(rows, step)

    def read_latest_start(self) -> None:
        """Read the latest start from the state, after loading it; `redirect_mask` then need not wait for the device."""
        self._latest_start = int(self.start_step.max())

    def redirect_mask(self, step: int | Tensor, redirect_steps: int) -> Tensor | bool:
        """Which pictures have redirected ReLUs in a step: all, none, or (B,) bool.

        Args:
            step: optimizer steps done; as a tensor of a step that has none.
            redirect_steps: steps with redirected ReLUs after the start, and after each restart, of a picture.
        """
        if isinstance(step, Tensor):
            return False
        if step < redirect_steps:
            return True
        if step >= self._latest_start + redirect_steps:
            return False
        return step - self.start_step < redirect_steps


@torch.no_grad()
def zero_moments(values: nn.Parameter, rows: Sequence[int], optimizers: Iterable[Optimizer]) -> None:
    """Zero the optimizers' moments of the rows of a parameter that were restarted.

    Adam counts steps for all rows together, so the first steps of a row restarted late are longer, up to five times after
    hundreds of steps; noise tolerates that.

    Args:
        values: (B, ...), of all pictures.
        rows: which of them were restarted.
        optimizers: those that hold state for ``values``.
    """
    for optimizer in optimizers:
        for moment in optimizer.state[values].values():
            if isinstance(moment, Tensor) and moment.shape == values.shape:
                moment[list(rows)] = 0
