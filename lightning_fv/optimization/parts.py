"""What a recipe is made of: checks, and its description."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightning_fv.errors import UsageError
from lightning_fv.objectives import Objective, Opacity
from lightning_fv.parameterizations import Parameterization
from lightning_fv.runs.settings import optimizer_settings, plain_value, qualified_name, scheduler_settings, settings_of

if TYPE_CHECKING:
    from lightning_fv.optimization.visualizer import FeatureVisualizer


def check_parts(
    parameterization: Any,
    transforms: Any,
    penalties: Any,
    optimizer: Any,
    stage_steps: int | None = None,
    chunk: int | None = None,
    diversity: float = 0.0,
) -> None:
    """Check the types of a recipe's parts, and its counts.

    Args:
        parameterization, transforms, penalties, optimizer, stage_steps, chunk, diversity: see `lightning_fv.FeatureVisualizer`.

    Raises:
        UsageError: one is something else; the message names it.
    """
    for name, value in (("stage_steps", stage_steps), ("chunk, the number of pictures per forward pass,", chunk)):
        if value is not None and not 1 <= value < 2**31:
            raise UsageError(f"{name} must be at least 1 and below 2**31, got {value}")
    if not isinstance(diversity, int | float) or not 0 <= diversity < math.inf:
        raise UsageError(f"diversity is a weight, 0 or more, such as 1.0; got {diversity!r}")
    if not isinstance(parameterization, Parameterization | None):
        raise UsageError(f"parameterization is {_text(parameterization)}; give one, such as Fourier()")
    for name, found, kind in (("transforms", transforms, nn.Module), ("penalties", penalties, Objective)):
        items = list(found) if isinstance(found, list | tuple | nn.ModuleList) else [found]
        wrong = next((item for item in items if not isinstance(item, kind)), None)
        if wrong is not None:
            raise UsageError(f"{name} holds {_text(wrong)}; give a list of instances of {kind.__name__}")
        for item in items:
            _check_constructed(item)
    _check_constructed(parameterization)
    if any(isinstance(item, Opacity) for item in penalties) and not getattr(parameterization, "has_opacity", False):
        raise UsageError(
            "the penalty Opacity needs transparent pictures: --model.parameterization Alpha, or Alpha() in Python"
        )
    if not callable(optimizer):
        raise UsageError(f"optimizer is {_text(optimizer)}; give a function that makes one from parameters")


def _check_constructed(part: object) -> None:
    """Refuse a Module or a parameterization without the attributes that its base class makes."""
    incomplete = isinstance(part, nn.Module) and "_modules" not in vars(part)
    if incomplete or (isinstance(part, Parameterization) and "_size" not in vars(part)):
        raise UsageError(f"the constructor of {type(part).__name__} must call super().__init__() before anything else")


def describe_recipe(recipe: "FeatureVisualizer") -> dict[str, Any]:
    """All settings of a recipe that change a picture, as plain JSON values.

    Raises:
        UsageError: a setting cannot be described; the message names the part and its attribute.
    """
    optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
    settings = optimizer_settings(optimizer)
    if recipe.lr_scheduler is not None and not callable(recipe.lr_scheduler):
        raise UsageError(
            f"lr_scheduler is {_text(recipe.lr_scheduler)}; give a function that makes one from an optimizer"
        )
    schedule = None if recipe.lr_scheduler is None else scheduler_settings(recipe.lr_scheduler(optimizer))
    return {
        "visualizer": qualified_name(type(recipe)),
        "parameterization": settings_of(recipe.parameterization),
        "transforms": [settings_of(transform) for transform in recipe.transforms],
        "penalties": [settings_of(penalty) for penalty in recipe.penalties],
        "optimizer": settings,
        "lr_scheduler": schedule,
        "size": plain_value(recipe.asked_size, "FeatureVisualizer.size"),
        "moments": recipe.moments,
        "redirect_steps": plain_value(recipe.redirect_steps, "FeatureVisualizer.redirect_steps"),
        "stage_steps": plain_value(recipe.stage_steps, "FeatureVisualizer.stage_steps"),
        "diversity": plain_value(float(recipe.diversity), "FeatureVisualizer.diversity"),
        "diversity_layer": plain_value(recipe.diversity_layer, "FeatureVisualizer.diversity_layer"),
    }


def _text(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
