"""Checks of what a recipe is made of."""

from typing import Any

from torch import nn

from lightning_fv.errors import UsageError
from lightning_fv.objectives import Objective, Opacity
from lightning_fv.parameterizations import Parameterization


def check_parts(
    parameterization: Any,
    transforms: Any,
    penalties: Any,
    optimizer: Any,
    stage_steps: int | None = None,
    chunk: int | None = None,
) -> None:
    """Check the types of a recipe's parts, and its counts.

    Args:
        parameterization, transforms, penalties, optimizer, stage_steps, chunk: see `lightning_fv.FeatureVisualizer`.

    Raises:
        UsageError: one is something else; the message names it.
    """
    for name, value in (("stage_steps", stage_steps), ("chunk, the number of pictures per forward pass,", chunk)):
        if value is not None and not 1 <= value < 2**31:
            raise UsageError(f"{name} must be at least 1 and below 2**31, got {value}")
    if not isinstance(parameterization, Parameterization | None):
        raise UsageError(f"parameterization is {_text(parameterization)}; give one, such as Fourier()")
    for name, found, kind in (("transforms", transforms, nn.Module), ("penalties", penalties, Objective)):
        items = list(found) if isinstance(found, list | tuple | nn.ModuleList) else [found]
        wrong = next((item for item in items if not isinstance(item, kind)), None)
        if wrong is not None:
            raise UsageError(f"{name} holds {_text(wrong)}; give a list of instances of {kind.__name__}")
    if any(isinstance(item, Opacity) for item in penalties) and not getattr(parameterization, "has_opacity", False):
        raise UsageError(
            "the penalty Opacity needs transparent pictures: --model.parameterization Alpha, or Alpha() in Python"
        )
    if not callable(optimizer):
        raise UsageError(f"optimizer is {_text(optimizer)}; give a function that makes one from parameters")


def _text(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
