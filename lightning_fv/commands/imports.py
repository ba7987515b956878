"""What options and config files may run: classes that a run is made of, and code of the user's own, which is named first.

A class path in a config file is an order to import a module and to call what it holds. jsonargparse imports every name that
a value may stand for with one function, ``import_object``; while options are read, that function asks here, so that no place
in which a name can stand is forgotten: class paths, functions, types, nested arguments, further files. Files are read from this
machine only: Lightning would also fetch a config from a URL that a value names.

- Names in Python's standard library are refused before anything is imported.
- In this package and those that it is built on, only classes of `PARTS` may be named, and this package's own functions that make
  one. So ``torch.optim.SGD`` may, ``torch.load`` may not.
- Everything else is the user's own code. It may be run, and is announced in a line before its module is imported.
"""

import contextlib
import functools
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
from jsonargparse import _actions, _typehints, set_parsing_settings
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_fv.errors import UsageError, note
from lightning_fv.objectives import Objective
from lightning_fv.objectives.base import Term

PARTS = (
    nn.Module,
    Objective,
    Term,
    Optimizer,
    LRScheduler,
    pl.Callback,
    Logger,
    Profiler,
    Accelerator,
    Strategy,
    Precision,
    CheckpointIO,
    ClusterEnvironment,
    LayerSync,
)
"""Base classes of everything that options may name."""

_OURS = "lightning_fv"
_KNOWN = {
    _OURS,
    "torch",
    "torchvision",
    "lightning",
    "lightning_fabric",
    "pytorch_lightning",
    "kornia",
    "torchmetrics",
    "timm",
}
_STANDARD = {*sys.stdlib_module_names, "test"}
_MAY = (
    "options and config files may name only components (modules, objectives, optimizers, callbacks, ...) "
    "or your own code"
)

_told: set[str] = set()


@contextlib.contextmanager
def checked_imports() -> Iterator[None]:
    """While this lasts, options import nothing but what they may.

    Raises:
        UsageError: inside, for a name that is refused; or at once, if this version of jsonargparse imports in another way.
    """
    modules: list[Any] = [_typehints, _actions]
    if not all(callable(getattr(module, "import_object", None)) for module in modules):
        raise UsageError("this version of jsonargparse is not supported; install one from 4.48 to 4.53")
    before = [module.import_object for module in modules]
    if any(isinstance(function, _Checked) for function in before):  # parsers within parsers
        yield
        return
    for module, function in zip(modules, before, strict=True):
        module.import_object = _Checked(function)
    set_parsing_settings(config_read_mode_fsspec_enabled=False)
    try:
        yield
    except _Refused as refused:
        raise UsageError(str(refused)) from None
    finally:
        set_parsing_settings(config_read_mode_fsspec_enabled=True)  # as Lightning has it
        for module, function in zip(modules, before, strict=True):
            module.import_object = function


class _Refused(BaseException):
    """A name that must not be run. Not an Exception: jsonargparse would try the value as another type instead."""


class _Checked:
    """jsonargparse's ``import_object``, with the checks before and after it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, name: object, *args: Any, **options: Any) -> Any:
        if not isinstance(name, str) or "." not in name or not all(part.isidentifier() for part in name.split(".")):
            return self.function(name, *args, **options)  # raises what is wrong with it
        _check_name(name)
        found = self.function(name, *args, **options)
        _check_object(name, found)
        return found


def _check_name(name: str) -> None:
    """Decide about a name before its module is imported: importing is running.

    Args:
        name: dotted, as written.

    Raises:
        _Refused: it is in the standard library, or reaches for Python's internals.
    """
    top, *rest = name.split(".")
    if top in _STANDARD:
        raise _Refused(f"{name} is refused: it is part of Python's standard library; {_MAY}")
    if any(part.startswith("__") for part in rest):
        raise _Refused(f"{name} is refused: it reaches for Python's internals; {_MAY}")
    if top not in _KNOWN and name not in _told and (place := _place(top)) is not None:
        _told.add(name)
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            note(f"lightning-fv: running your own code: {name} ({place})")


def _check_object(name: str, found: object) -> None:
    """Decide about what a name stands for.

    Raises:
        _Refused: it is not a part of a run, and not the user's own.
    """
    if isinstance(found, functools.partial):
        return _check_object(name, found.func)
    named_in = name.partition(".")[0]
    if inspect.isclass(found) and issubclass(found, PARTS):
        return None
    if isinstance(found, PARTS) and named_in not in _KNOWN:
        return None
    if inspect.isclass(found) or inspect.isroutine(found):
        home = (getattr(found, "__module__", None) or "builtins").partition(".")[0]
        if home == _OURS and named_in == _OURS and _makes_part(found):
            return None
    elif inspect.ismodule(found):
        home = found.__name__.partition(".")[0]
    else:
        home = type(found).__module__.partition(".")[0]
    if named_in in _KNOWN or home in _KNOWN | _STANDARD:
        raise _Refused(f"{name} is refused: it is not a component of a run; {_MAY}")
    return None


def _makes_part(function: object) -> bool:
    """Whether a function says that it returns a part, as `study_warp` does."""
    if inspect.isclass(function):
        return False
    try:
        returned = typing.get_type_hints(function).get("return")
    except (TypeError, NameError):  # of names that only type checkers know
        return False
    return inspect.isclass(returned) and issubclass(returned, PARTS)


def _place(top: str) -> str | None:
    """The file of a module that has not been imported, or None if there is no such module."""
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        if (spec := importlib.util.find_spec(top)) is not None:
            return spec.origin or next(iter(spec.submodule_search_locations or []), None) or top
    return "the running program" if top == "__main__" else None
