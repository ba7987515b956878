"""A digest of what a function or class computes, where its name does not identify it."""

import functools
import hashlib
import inspect
import types
from typing import Any

import numpy as np
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes)


def code_digest(value: object) -> str:
    """A digest (hex) of the bytecode of a function, or of all methods of a class, with the values that they capture.

    The same in every process with the same version of Python; comments and line numbers do not matter. Of captured objects
    count the class and the attributes that are plain values or tensors, of global variables those that are plain values.

    Args:
        value: a function, method, partial, class, or an object that is called.
    """
    return hashlib.blake2b(repr(_code(value, ())).encode(errors="replace"), digest_size=8).hexdigest()


def unnamed_code(kind: type) -> list[str]:
    """Digests of those of a class and its bases that no module can be imported for: of scripts, notebooks and functions."""
    return [
        code_digest(base) for base in kind.__mro__ if base.__module__ == "__main__" or "<locals>" in base.__qualname__
    ]


def hook_digests(module: object) -> list[str]:
    """Digests of the functions that are called before and after a Module's forward; none for other objects."""
    if not isinstance(module, nn.Module):
        return []
    return [code_digest(hook) for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())]


def _code(value: object, above: tuple[object, ...]) -> object:
    if any(value is other for other in above):  # a function that captures itself
        return "itself"
    above = (*above, value)
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_names, value.co_varnames, tuple(_code(c, above) for c in value.co_consts)
    if isinstance(value, types.FunctionType):
        captured = [_cell(cell, above) for cell in value.__closure__ or ()]
        defaults = [_code(default, above) for default in value.__defaults__ or ()]
        keywords = [(name, _code(default, above)) for name, default in (value.__kwdefaults__ or {}).items()]
        known = {name: value.__globals__.get(name) for name in _names(value.__code__)}
        constants = {name: found for name, found in known.items() if isinstance(found, _PLAIN)}
        return _code(value.__code__, above), captured, defaults, keywords, _code(constants, above)
    if isinstance(value, types.MethodType):
        return _code(value.__func__, above), _code(value.__self__, above)
    if isinstance(value, functools.partial):
        return _code(value.func, above), _code(value.args, above), _code(value.keywords, above)
    if isinstance(value, staticmethod | classmethod):
        return _code(value.__func__, above)
    if isinstance(value, property):
        return [_code(function, above) for function in (value.fget, value.fset)]
    if isinstance(value, type):
        return _class(value, above)
    if value is None or isinstance(value, _PLAIN):
        return type(value).__name__, repr(value)
    if isinstance(value, Tensor | np.ndarray):
        return _values(value)
    if isinstance(value, tuple | list):
        return [_code(item, above) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_code(item, above)) for item in value)
    if isinstance(value, dict):
        return sorted(repr((_code(key, above), _code(item, above))) for key, item in value.items())
    return _instance(value)


def _names(code: types.CodeType) -> set[str]:
    """What code refers to by name, also in functions inside it."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)


def _instance(value: object) -> object:
    """The class of an object, and what it holds that is sure to be the same in every process."""
    held = dict(getattr(value, "__dict__", {}))
    if isinstance(value, nn.Module):
        held |= dict(value.named_parameters()) | dict(value.named_buffers())
    plain = {name: _code(item, ()) for name, item in held.items() if isinstance(item, (*_PLAIN, Tensor, np.ndarray))}
    return type(value).__module__, type(value).__qualname__, sorted(plain.items())


def _values(value: Tensor | np.ndarray[Any, Any]) -> object:
    try:
        array = np.ascontiguousarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        return str(value.dtype), array.shape, hashlib.blake2b(array.tobytes(), digest_size=8).hexdigest()
    except (RuntimeError, TypeError):  # a tensor without plain values, or of a type that NumPy does not have
        return type(value).__name__, str(value.dtype), tuple(value.shape)


def _class(kind: type, above: tuple[object, ...]) -> object:
    """The methods that a class defines itself; those of its bases are found by the names of these."""
    methods = {
        name: _code(value, above)
        for name, value in vars(kind).items()
        if inspect.isfunction(value) or isinstance(value, staticmethod | classmethod | property)
    }
    return kind.__qualname__, sorted(methods.items())


def _cell(cell: Any, above: tuple[object, ...]) -> object:
    try:
        return _code(cell.cell_contents, above)
    except ValueError:  # not assigned yet
        return "empty"
