"""Identity of objectives: text made from the constructor's arguments, never a memory address."""

import contextlib
import enum
import functools
import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_fv.errors import TargetError

# Memory addresses, anonymous functions, and values that are rounded or truncated when printed.
_UNFAITHFUL = re.compile(r" at 0x[0-9a-fA-F]+|<lambda>|\b(?:tensor|array)\(")


class Identified:
    """Base of objects that are identified by their ``repr``, the expression that constructs them.

    The default ``repr`` lists the constructor's arguments: each must be stored in an attribute of the same name and be a
    plain value (None, bool, number, str, enum member, another `Identified`, or a tuple, list, set or dict of
    these). A subclass that cannot do this must define a ``__repr__`` that shows everything its value depends on.
    """

    @property
    def key(self) -> str:
        """What random draws and file names depend on: the ``repr``.

        Raises:
            TargetError: the ``repr`` does not distinguish this object from others.
        """
        text, name = repr(self), type(self).__name__
        if (found := _UNFAITHFUL.search(text)) is None:
            return text
        reason = f"its repr contains {found[0].strip()!r}"
        if type(self).__repr__ is Identified.__repr__:
            reason = _call(self)[1] or reason
        raise TargetError(
            f"{name} cannot be told from another {name}: {reason}; write a __repr__ that shows everything its value "
            'depends on, or name it: Function(objective, name="...")'
        )

    @property
    def state(self) -> object:
        """What is compared to find out whether two objects with the same key are equal."""
        return type(self), self.__getstate__()  # attributes, in a __dict__ or in slots

    def same_as(self, other: "Identified") -> bool:
        """Whether both have the same key and equal state."""
        return self.key == other.key and _equal(self, other)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # As attributes of the class itself, so that @dataclass keeps them: the repr that it would write shows
        # tensors rounded and modules without their weights, and its __eq__ would make objectives unhashable.
        for name in ("__repr__", "__eq__", "__hash__"):
            if name not in vars(cls):
                setattr(cls, name, getattr(cls, name))

    def __repr__(self) -> str:
        text, reason = _call(self)
        return text if reason is None else object.__repr__(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identified) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@functools.lru_cache(maxsize=256)
def _parameters(cls: type[Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(cls).parameters.values())


@functools.lru_cache(maxsize=256)
def declared_floats(kind: Any) -> frozenset[str]:
    """Names of the constructor's parameters that are declared as floats, but not as ints: there 1 and 1.0 are the same."""
    found: set[str] = set()
    for base in kind.__mro__:
        with contextlib.suppress(Exception):  # an annotation may name what does not exist
            for name, hint in typing.get_type_hints(base.__dict__["__init__"]).items():
                kinds = typing.get_args(hint) or (hint,)
                found |= {name} if float in kinds and int not in kinds else set()
    return frozenset(found)


def _call(instance: Identified) -> tuple[str, str | None]:
    """The expression that constructs an object, and None or the reason why there is no such expression.

    The first argument and the required ones are written by position, the others by name unless they are the defaults.
    """
    cls: Any = type(instance)
    name, parameters, texts = cls.__name__, _parameters(cls), []
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return name, f"its constructor takes {parameter}"
        if not hasattr(instance, parameter.name):
            return name, f"it has no attribute {parameter.name!r} that stores the argument"
        value = getattr(instance, parameter.name)
        if type(value) is int and parameter.name in declared_floats(cls):
            value = float(value)
        text = _literal(value)
        if text is None:
            return name, f"its argument {parameter.name!r} is of type {type(value).__name__}, not a plain value"
        texts.append(text)
    given = [p.default is p.empty or text != _literal(p.default) for p, text in zip(parameters, texts, strict=True)]
    arguments = []
    for number, (parameter, text) in enumerate(zip(parameters, texts, strict=True)):
        first_or_required = parameter.default is parameter.empty or number == 0
        if first_or_required and parameter.kind is not parameter.KEYWORD_ONLY:
            arguments += [text] if any(given) else []
        elif given[number]:
            arguments.append(f"{parameter.name}={text}")
    return f"{name}({', '.join(arguments)})", None


def _literal(value: object) -> str | None:
    """A plain value as text that is the same in every process, or None."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, Identified):
        text = repr(value)
        return None if _UNFAITHFUL.search(text) else text
    if isinstance(value, tuple | list | set | frozenset):
        items = [_literal(item) for item in value]
        texts = [item for item in items if item is not None]
        if len(texts) < len(items):
            return None
        if isinstance(value, tuple):
            return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"
        if isinstance(value, list):
            return f"[{', '.join(texts)}]"
        return f"{type(value).__name__}([{', '.join(sorted(texts))}])"
    if isinstance(value, dict):
        pairs = [(_literal(key), _literal(item)) for key, item in value.items()]
        return None if any(None in pair for pair in pairs) else f"{{{', '.join(f'{k}: {v}' for k, v in pairs)}}}"
    return None


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal, through containers and tensors; False if that cannot be determined."""
    if one is other:
        return True
    if isinstance(one, Identified) and isinstance(other, Identified):
        return _equal(one.state, other.state)
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    try:
        return bool(one == other)
    except (ValueError, TypeError, RuntimeError):  # arrays of many values, among others
        return False
