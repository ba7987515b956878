"""Options that are set to nothing, as by ``network: null`` in a config file: jsonargparse takes a null for a value of any type."""

import typing
from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser

from lightning_fv.errors import UsageError


def refuse_nulls(parser: ArgumentParser, config: Mapping[str, Any]) -> None:
    """Check that only options whose type includes None are None; those of a group that is null, as by ``trainer: null``, are.

    Args:
        parser: whose options they are.
        config: parsed, by dotted name.

    Raises:
        UsageError: which one is null.
    """
    for action in parser._actions:
        kind = getattr(action, "_typehint", None)
        is_missing = kind is not None and type(None) not in typing.get_args(kind) and not action.dest.endswith(".help")
        if is_missing and config.get(action.dest) is None:
            raise UsageError(f"{action.dest}: null is no value for it; leave it out to keep the default")
