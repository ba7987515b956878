"""Settings of a recipe's parts as plain JSON values: whatever changes a picture must change the id of its job.

What counts as a setting of a part (transform, parameterization, penalty, callback):

- if its class has a method ``settings()``: the mapping that this returns;
- else its public attributes and those of its class, its private attributes named like a parameter of its constructor
  (``_sigma`` for ``sigma``), and for a Module its parameters, its buffers, its child modules and its hooks; not ``training``.
  If a parameter of its constructor is in no attribute of its name, any private attribute may hold it, and all of them count.

Plain values are taken as they are, tensors and arrays by digest, functions and classes by qualified name, and Modules,
objectives, callbacks, distributions and dataclasses inside a part as parts. Everything else is refused rather than left out:
a setting missing from the id would let two different pictures pass for one. Code that can be imported by name is not
inspected: a function or class that is edited under the same name keeps its settings. That of classes defined in a script, a
notebook or a function is part of their settings, since their names do not identify them.

Settings are taken from fresh parts, before a run: callbacks acquire trainers, threads and files while they run.
"""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    Checkpoint,
    DeviceStatsMonitor,
    LearningRateMonitor,
    ModelSummary,
    ProgressBar,
)
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_fv.errors import UsageError
from lightning_fv.functional.code import code_digest, hook_digests, unnamed_code
from lightning_fv.objectives import Function, Objective
from lightning_fv.objectives.base import Sum
from lightning_fv.objectives.identity import Identified
from lightning_fv.runs.attributes import as_declared, attributes, class_attributes

_OBSERVERS = (
    BasePredictionWriter,
    Checkpoint,
    DeviceStatsMonitor,
    LearningRateMonitor,
    ModelSummary,
    ProgressBar,
)
"""Lightning's callbacks that only observe a fit."""

_TAGS = {"blake2b", "bytes", "class", "enum", "float", "items", "name", "partial", "set", "value"}
"""Keys of the mappings that describe values which JSON does not have."""


def settings_of(part: object) -> dict[str, Any]:
    """The class and the settings of a part of a recipe.

    Args:
        part: a fresh one, not one that has run.

    Returns:
        ``class`` and the settings by name, all plain JSON values.

    Raises:
        UsageError: a setting cannot be described; the message names part and attribute.
    """
    try:
        return _part(part, type(part).__name__)
    except RecursionError:
        raise UsageError(
            f"the settings of {type(part).__name__} contain themselves; give it a method settings() that returns plain values"
        ) from None


def callback_settings(callbacks: Iterable[pl.Callback]) -> list[dict[str, Any]]:
    """Settings of those callbacks that may change a picture.

    Left out are Lightning's observers (progress bars, checkpoints, monitors, summaries) with their subclasses, and callbacks
    whose method ``settings()`` returns None, such as this package's loggers and writers.

    Raises:
        UsageError: a setting cannot be described; the message names callback and attribute.
    """
    changing = [callback for callback in callbacks if not is_observer(callback)]
    return [
        settings_of(callback)
        for callback in changing
        if not (_has_settings(callback) and _custom_settings(callback) is None)
    ]


def is_observer(part: object) -> bool:
    """Whether a part is one of Lightning's callbacks that only observe a fit."""
    return isinstance(part, _OBSERVERS)


def objective_settings(objective: Objective) -> Any:
    """What an objective's values depend on besides its key: for a `Function` also the code of the function.

    Of an objective whose class defines ``__repr__``, and so answers for its identity itself, what cannot be described is
    left to that.

    Raises:
        UsageError: a setting cannot be described; the message names objective and attribute.
    """
    if isinstance(objective, Sum):
        terms = [[plain_value(t.weight, "weight"), *map(objective_settings, t.factors)] for t in objective.terms]
        return {"class": qualified_name(Sum), "terms": terms}
    if isinstance(objective, Function):
        return {"class": qualified_name(type(objective)), "key": objective.key, "code": code_digest(objective.fn)}
    try:
        return settings_of(objective)
    except UsageError:
        if type(objective).__repr__ is Identified.__repr__:
            raise
        return {"class": qualified_name(type(objective))}


def optimizer_settings(optimizer: Optimizer) -> dict[str, Any]:
    """The class of an optimizer, the options of its parameter groups, and its further public attributes.

    Raises:
        UsageError: a setting cannot be described; the message names optimizer and attribute.
    """
    owner = type(optimizer).__name__
    if not isinstance(optimizer, Optimizer):
        raise UsageError(f"optimizer makes an object of type {owner}; it must return an Optimizer of the parameters")
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    # The groups hold the defaults, or the values given instead.
    usual = {"defaults", "param_groups", "params", "state"}
    if not type(optimizer).__module__.startswith("torch."):  # a private attribute may hold any argument
        usual |= vars(SGD(optimizer.param_groups[0]["params"])).keys()
    else:
        usual |= {name for name in vars(optimizer) if name.startswith("_")}
    attributes = {name: value for name, value in vars(optimizer).items() if name not in usual}
    settings = attributes | (groups[0] if len(groups) == 1 else {"groups": groups})
    return {"class": qualified_name(type(optimizer)), **_named(as_declared(type(optimizer), settings), owner)}


def scheduler_settings(scheduler: LRScheduler) -> dict[str, Any]:
    """The class of a schedule of the learning rate, its attributes, and what it added to the optimizer's groups; before its first step.

    Raises:
        UsageError: a setting cannot be described; the message names schedule and attribute.
    """
    owner = type(scheduler).__name__
    if not isinstance(scheduler, LRScheduler):
        raise UsageError(
            f"lr_scheduler makes an object of type {owner}; it must return an LRScheduler of the optimizer"
        )
    known = {"params", *scheduler.optimizer.defaults}
    groups = [{k: value for k, value in group.items() if k not in known} for group in scheduler.optimizer.param_groups]
    found = {"groups": plain_value(groups, owner)}
    for name, value in vars(scheduler).items():
        if name in ("optimizer", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"):
            continue
        try:
            found[name] = plain_value(value, f"{owner}.{name}")
        except UsageError:
            # Of torch's own, such attributes are functions that others name.
            if not name.startswith("_") or not type(scheduler).__module__.startswith("torch."):
                raise
    return {"class": qualified_name(type(scheduler)), **found}


def qualified_name(value: Any) -> str:
    """Module and name of a class or function, such as ``torch.nn.functional.relu``."""
    return f"{value.__module__}.{value.__qualname__}"


def plain_value(value: object, where: str) -> Any:
    """A setting as a plain JSON value; equal values give equal JSON, in whatever order a mapping or set holds them.

    Args:
        value: of a type that the module's docstring names, or a tuple, list, set or mapping of such values.
        where: names part and attribute in the error, such as ``Masked.mask``.

    Raises:
        UsageError: the value has no faithful plain form.
    """
    if isinstance(value, enum.Enum):
        return {"enum": f"{qualified_name(type(value))}.{value.name}"}
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else {"float": repr(number)}  # JSON has no NaN and no infinity
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Path | torch.dtype | torch.device | torch.memory_format | torch.layout):
        return {"value": str(value)}
    if isinstance(value, bytes | bytearray):
        return {"bytes": hashlib.blake2b(value, digest_size=16).hexdigest()}
    if isinstance(value, np.ndarray):
        return _array(value, where)
    if isinstance(value, Tensor):
        return _tensor(value, where)
    if isinstance(value, tuple | list):
        return [plain_value(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return {"set": sorted((plain_value(item, where) for item in value), key=json.dumps)}
    if isinstance(value, Mapping):
        return _mapping(value, where)
    if isinstance(value, functools.partial):
        arguments = {"args": value.args, "keywords": value.keywords}
        return {"partial": plain_value(value.func, where), **_named(arguments, where)}
    if isinstance(value, type) or inspect.isroutine(value):
        return {"name": _function(value, where)}
    if isinstance(value, nn.Module | Objective | pl.Callback | Distribution) or dataclasses.is_dataclass(value):
        return _part(value, where)
    if _has_settings(value):
        return _part(value, where)
    if isinstance(value, LRScheduler):  # inside of another
        return scheduler_settings(value)
    raise _refusal(where, f"an object of type {type(value).__name__}")


def _part(part: object, where: str) -> dict[str, Any]:
    kind = type(part)
    name: dict[str, Any] = {"class": qualified_name(kind)}
    if code := unnamed_code(kind):
        name["code"] = code
    if _has_settings(part):
        return {**name, **_named(_custom_settings(part) or {}, where)}
    if isinstance(part, torch.jit.ScriptModule):
        raise _refusal(where, "a TorchScript module, whose code and constants no attribute shows")
    if hooks := hook_digests(part):
        name["hooks"] = hooks
    return {**name, **_class_settings(kind, where), **_named(as_declared(kind, attributes(part)), where)}


def _has_settings(part: object) -> bool:
    return not isinstance(part, type) and callable(getattr(type(part), "settings", None))


def _custom_settings(part: Any) -> Mapping[str, object] | None:
    settings = part.settings()
    if settings is None or isinstance(settings, Mapping):
        return settings
    raise UsageError(
        f"{type(part).__name__}.settings() returns a {type(settings).__name__}; it must return a mapping, or None if nothing in it "
        "changes a picture"
    )


def _class_settings(kind: type, where: str) -> dict[str, Any]:
    """Public attributes of a class and its bases that are plain values; a class that is edited keeps the others."""
    found: dict[str, Any] = {}
    for name, value in class_attributes(kind).items():
        with contextlib.suppress(UsageError, RecursionError):
            found[name] = plain_value(value, f"{where}.{name}")
    return found


def _named(values: Mapping[str, object], owner: str) -> dict[str, Any]:
    return {name: plain_value(value, f"{owner}.{name}") for name, value in values.items()}


def _mapping(values: Mapping[Any, object], where: str) -> Any:
    if all(type(key) is str for key in values) and not _TAGS & values.keys():
        return {key: plain_value(value, f"{where}[{key!r}]") for key, value in values.items()}
    # JSON would turn the key 1 into "1", and a tag would pass for what it stands for.
    pairs = [[plain_value(key, where), plain_value(value, f"{where}[{key!r}]")] for key, value in values.items()]
    return {"items": sorted(pairs, key=json.dumps)}


def _function(value: Any, where: str) -> str:
    name = getattr(value, "__qualname__", "")
    if "<lambda>" in name:
        raise _refusal(where, "a lambda", "use a function defined at the top level of a module, or ")
    if "<locals>" in name:
        what = "class" if isinstance(value, type) else "function"
        raise _refusal(where, f"a {what} defined inside a function", f"use a {what} at the top level of a module, or ")
    if getattr(value, "__closure__", None) and not _is_found_by_name(value):  # made by a decorator that copies the name
        raise _refusal(where, "a closure", "use a function defined at the top level of a module, or ")
    bound_to = getattr(value, "__self__", None)
    if isinstance(bound_to, type):  # a class method, or a function of torch such as torch.relu
        return f"{qualified_name(bound_to)}.{value.__name__}"
    if bound_to is not None and not inspect.ismodule(bound_to):
        raise _refusal(where, f"a method of an object of type {type(bound_to).__name__}")
    owner = getattr(value, "__objclass__", value)  # of a method of a C type, such as torch.Tensor.relu
    return f"{owner.__module__}.{name}"


def _is_found_by_name(function: Any) -> bool:
    found: object = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def _array(array: np.ndarray[Any, Any], where: str) -> dict[str, Any]:
    if array.dtype.hasobject:
        raise _refusal(where, "an array of objects")
    return _digest(list(array.shape), str(array.dtype), np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _tensor(tensor: Tensor, where: str) -> dict[str, Any]:
    try:
        values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    except (RuntimeError, NotImplementedError, ValueError):  # sparse, quantized, uninitialized or on the meta device
        raise _refusal(where, "a tensor without plain values") from None
    return _digest(list(tensor.shape), str(tensor.dtype).removeprefix("torch."), values)


def _digest(shape: list[int], dtype: str, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"shape": shape, "dtype": dtype, "blake2b": hashlib.blake2b(values.data, digest_size=16).hexdigest()}


def _refusal(where: str, what: str, remedy: str = "") -> UsageError:
    owner = where.partition(".")[0]
    return UsageError(
        f"the setting {where} is {what}, which cannot be part of a job's id; "
        f"{remedy}give {owner} a method settings() that returns all that changes a picture as plain values"
    )
