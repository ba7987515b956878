"""Resizes pictures together with the optimizer's state."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer

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

    The Parameter is replaced, not resized in place: whatever still refers to the last step's graph stays valid.

    Args:
        parameterization: holds the pictures.
        size: (height, width) in pixels.
        guard: holds the last finite values of the same pictures.
        optimizers: those that update the parameterization.
        moments: whether their moments are reset or resampled.
    """
    before = list(parameterization.parameters())
    states = []
    for optimizer in optimizers:
        entries = [optimizer.state.pop(parameter, {}) for parameter in before]
        if moments == "resample":
            pairs = zip(entries, before, strict=True)
            entries = [_resampled(entry, parameter, parameterization, size) for entry, parameter in pairs]
        states.append(entries)
    guard.last_finite = _resized(guard.last_finite, parameterization, size)
    parameterization.resize(size)
    after = list(parameterization.parameters())
    for optimizer, entries in zip(optimizers, states, strict=True):
        _replace_parameters(optimizer, before, after)
        if moments == "resample":
            optimizer.state.update({new: entry for new, entry in zip(after, entries, strict=True) if entry})


def _resampled(
    state: dict[str, Any], parameter: nn.Parameter, parameterization: Parameterization, size: tuple[int, int]
) -> dict[str, Any]:
    """An optimizer's state of a parameter at another size; entries that are not moments, such as a step count, are kept."""
    resampled = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            # Second moments of new frequencies start at the mean: with a zero there the next step would explode.
            fill = float(value.mean()) if name == "exp_avg_sq" else 0.0
            value = parameterization.resample(value, size, fill).contiguous()
        resampled[name] = value
    return resampled


def _resized(values: Tensor, parameterization: Parameterization, size: tuple[int, int]) -> Tensor:
    """Values of pictures like those of a parameterization, at another size."""
    scratch = copy.deepcopy(parameterization)
    if (
        values.shape == scratch.values.shape
    ):  # else the pictures were replaced from outside, and there is nothing to keep
        scratch.values = nn.Parameter(values)
    scratch.resize(size)
    return scratch.values.detach()


def _replace_parameters(optimizer: Optimizer, before: Sequence[nn.Parameter], after: Sequence[nn.Parameter]) -> None:
    swap = {id(old): new for old, new in zip(before, after, strict=True)}
    for group in optimizer.param_groups:
        group["params"] = [swap.get(id(parameter), parameter) for parameter in group["params"]]
