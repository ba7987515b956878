"""Parts of a recipe as configuration files name them: a class path and the arguments that construct an equal part."""

import copy
import enum
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_fv.errors import FeatureVisualizationError
from lightning_fv.objectives import Objective
from lightning_fv.objectives.base import Term
from lightning_fv.runs.attributes import as_declared
from lightning_fv.runs.settings import is_observer, optimizer_settings, qualified_name, scheduler_settings, settings_of


class NotInConfigError(Exception):
    """A part that no configuration file can name; the message says which, and why."""


def init_args(part: object) -> dict[str, Any]:
    """``class_path`` and ``init_args`` of a part, plain values for YAML.

    The arguments are taken from the attributes that hold them, by name or with an underscore before it, and of Kornia's
    augmentations from ``flags`` and the generator of their parameters. A part that they construct anew must have the settings
    of this one.

    Raises:
        NotInConfigError: the class cannot be imported by its name, or an argument is not held or not plain.
    """
    kind = type(part)
    path = import_path(kind)
    arguments = as_declared(kind, _held_arguments(part))
    values = {name: _plain(value, f"{kind.__name__}.{name}") for name, value in arguments.items()}
    if not is_observer(part):
        _check_equal(part, lambda: kind(**copy.deepcopy(arguments)), _identity)
    return {"class_path": path, "init_args": values}


def optimizer_init_args(make: Callable[[Iterable[Any]], Optimizer]) -> dict[str, Any]:
    """As `init_args`, of what makes an optimizer from parameters: any callable whose optimizers have one group of options.

    Raises:
        NotInConfigError: the class cannot be imported by its name, or does not take the options that it holds.
    """
    parameters = [nn.Parameter(torch.zeros(1))]
    optimizer = make(parameters)
    kind: Any = type(optimizer)
    path = import_path(kind)
    names = list(inspect.signature(kind).parameters)[1:]
    arguments = {name: optimizer.param_groups[0][name] for name in names if name in optimizer.param_groups[0]}
    arguments = as_declared(kind, arguments)
    values = {name: _plain(value, f"{kind.__name__}.{name}") for name, value in arguments.items()}
    _check_equal(optimizer, lambda: kind(parameters, **arguments), optimizer_settings)
    return {"class_path": path, "init_args": values}


def scheduler_init_args(
    make: Callable[[Optimizer], LRScheduler], make_optimizer: Callable[[Iterable[Any]], Optimizer]
) -> dict[str, Any]:
    """As `init_args`, of what makes a schedule of the learning rate from an optimizer.

    Raises:
        NotInConfigError: the class cannot be imported by its name, or an argument is not held or not plain.
    """
    scheduler = make(make_optimizer([nn.Parameter(torch.zeros(1))]))
    kind: Any = type(scheduler)
    path = import_path(kind)
    arguments = {
        name: value for name, value in _held_arguments(scheduler).items() if name not in ("optimizer", "last_epoch")
    }
    values = {name: _plain(value, f"{kind.__name__}.{name}") for name, value in as_declared(kind, arguments).items()}
    again = functools.partial(kind, **arguments)
    _check_equal(scheduler, lambda: again(make_optimizer([nn.Parameter(torch.zeros(1))])), scheduler_settings)
    return {"class_path": path, "init_args": values}


def import_path(value: Any) -> str:
    """The dotted name under which another process can import a class or function.

    Raises:
        NotInConfigError: there is none.
    """
    found: object = sys.modules.get(value.__module__ or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not value or value.__module__ == "__main__":
        raise NotInConfigError(f"{value.__qualname__} is not defined at the top level of a module that can be imported")
    return qualified_name(value)


def _held_arguments(part: object) -> dict[str, Any]:
    """The constructor's arguments, of those that the part still holds."""
    kind, missing = type(part), object()
    arguments = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = getattr(part, name, missing)
        if value is missing or inspect.ismethod(value):
            value = getattr(part, f"_{name}", missing)
        if value is missing:  # as Kornia's augmentations hold them
            flags = getattr(part, "flags", None)
            value = getattr(getattr(part, "_param_generator", None), name, missing)
            value = flags.get(name, value) if isinstance(flags, Mapping) else value
        if value is not missing:
            arguments[name] = value
        elif parameter.default is parameter.empty:
            raise NotInConfigError(f"{kind.__name__} does not hold its argument {name} in an attribute of that name")
    return arguments


def _identity(part: object) -> dict[str, Any]:
    """Settings, and the key of an objective, which its random draws depend on."""
    return settings_of(part) | ({"key": part.key} if isinstance(part, Objective) else {})


def _check_equal(part: Any, make: Callable[[], Any], settings: Callable[[Any], dict[str, Any]]) -> None:
    name = type(part).__name__
    try:
        equal = settings(make()) == settings(part)
    except FeatureVisualizationError as error:
        raise NotInConfigError(str(error)) from None
    except Exception as error:  # whatever a constructor raises
        raise NotInConfigError(f"{name} cannot be made again from its attributes ({type(error).__name__})") from None
    if not equal:
        raise NotInConfigError(f"{name} cannot be made again from its attributes")


def _plain(value: object, where: str) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item, where) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, where) for item in value), key=repr)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, where) for key, item in value.items()}
    if inspect.isfunction(value) or isinstance(value, type):
        return import_path(value)
    if isinstance(value, nn.Module | Objective | Term | pl.Callback):
        return init_args(value)
    raise NotInConfigError(f"{where} is of type {type(value).__name__}")
