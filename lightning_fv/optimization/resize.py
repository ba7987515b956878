"""Resizes pictures together with the optimizer's state."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from lightning_fv.optimization.nonfinite import NonFiniteGuard
from lightning_fv.parameterizations import Parameterization

Moments: TypeAlias = Literal["reset", "resample"]
"""What happens to the optimizer's moments when the pictures change size."""


def resize_pictures(
    parameterization: Parameterization,
    size: tuple[int, int],
    guard: NonFiniteGuard,
    optimizers: Sequence[Optimizer],
    moments: Moments,
) -> None:
    """Resize the pictures, the guard's last finite values and the optimizers' state.

    The Parameter is replaced, not resized in place: whatever still refers to the last step's graph stays valid. Where a
    picture's numbers do not depend on its size, the Parameter and the optimizers' state stay as they are.

    Args:
        parameterization: holds the pictures.
        size: (height, width) in pixels.
        guard: holds the last finite values of the same pictures.
        optimizers: those that update the parameterization.
        moments: whether their moments are reset or resampled.
    """
    before, old = parameterization.values, parameterization.size
    last_finite = guard.last_finite if guard.last_finite.shape == before.shape else None
    parameterization.resize(size)
    after = parameterization.values
    if after is before:  # whose numbers do not depend on the size
        return
    # Of another shape if the pictures were replaced from outside: then there is nothing to keep.
    kept = after.detach().clone() if last_finite is None else parameterization.resized(last_finite, old, size)
    guard.last_finite = kept.contiguous()
    for optimizer in optimizers:
        state = optimizer.state.pop(before, {})
        if moments == "resample" and state and not isinstance(optimizer, LBFGS):  # which holds directions, all flat
            optimizer.state[after] = _resampled(state, before, parameterization, old, size)
        for group in optimizer.param_groups:
            # In place, since LBFGS holds the same list.
            group["params"][:] = [after if parameter is before else parameter for parameter in group["params"]]
        if isinstance(optimizer, LBFGS):
            optimizer._numel_cache = None


def _resampled(
    state: dict[str, Any],
    parameter: nn.Parameter,
    parameterization: Parameterization,
    old: tuple[int, int],
    size: tuple[int, int],
) -> dict[str, Any]:
    """An optimizer's state of a parameter at another size; entries that are not moments, such as a step count, are kept."""
    resampled = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            # Second moments of new frequencies start at the mean: with a zero there the next step would explode.
            fill = float(value.mean()) if name == "exp_avg_sq" else 0.0
            value = parameterization.resample(value, old, size, fill).contiguous()
        resampled[name] = value
    return resampled
