"""What the parts of a recipe hold: attributes of instances and classes, and what constructors declare."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_fv.objectives.identity import declared_floats

_FRAMEWORK = set(vars(nn.Module()))
"""Attributes that every Module has."""


def attributes(part: object) -> dict[str, object]:
    """Public attributes of an instance, what a Module registers, and private attributes that hold an argument of its constructor.

    If some argument is in no attribute of its name, all private attributes.
    """
    held = dict(getattr(part, "__dict__", {}))
    for base in type(part).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(part, slot):
                held.setdefault(slot, getattr(part, slot))
    settings = {name: value for name, value in held.items() if not name.startswith("_")}
    kind: Any = type(part)
    parameters = _constructor_parameters(kind)
    if isinstance(part, nn.Module):
        del settings["training"]
        registered: dict[str, object] = {**part._parameters, **part._buffers, **part._modules}
        settings |= registered
        held |= registered
    for name in parameters:
        if name not in held and isinstance(inspect.getattr_static(part, name, None), property):
            held[name] = getattr(part, name)
    hidden = [name for name in parameters if name not in held and f"_{name}" not in held]
    for name in parameters:
        if f"_{name}" in held:
            settings.setdefault(name, held[f"_{name}"])
        elif name in held:
            settings.setdefault(name, held[name])
    if hidden:
        settings |= {name: held[name] for name in held if name.startswith("_") and name not in _FRAMEWORK}
    return settings


def class_attributes(kind: type) -> dict[str, object]:
    """Public attributes of a class and its bases, without methods and descriptors, and without those of torch and Lightning."""
    found: dict[str, object] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] not in ("builtins", "abc", "torch", "lightning", "typing"):
            public = {name: value for name, value in vars(base).items() if not name.startswith("_")}
            found |= {n: value for n, value in public.items() if not callable(value) and not hasattr(value, "__get__")}
    return found


def as_declared(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a class with whole numbers as floats where its constructor declares floats: 1 and 1.0 are the same there."""
    floats = declared_floats(kind)
    return {name: float(value) if name in floats and type(value) is int else value for name, value in values.items()}


@functools.lru_cache(maxsize=256)
def _constructor_parameters(kind: Any) -> tuple[str, ...]:
    """Names of the parameters of all constructors of a class and its bases, in a fixed order; not of ``*`` and ``**``."""
    found = [base.__dict__["__init__"] for base in kind.__mro__ if "__init__" in base.__dict__]
    parameters = [
        p for init in found if inspect.isfunction(init) for p in list(inspect.signature(init).parameters.values())[1:]
    ]
    return tuple(dict.fromkeys(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)))
