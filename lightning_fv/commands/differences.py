"""Which options differ between two command lines, of those that may change pictures."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import Namespace

SHOWN = 3
"""Lines of a message about options that differ."""

_LONG = 60
"""Characters of a value in such a line."""

# Settings that say where and how a run is computed, not what comes out.
_NEUTRAL = {
    "out", "resume", "config", "seed_everything", "checkpoint_seconds", "offline", "engine", "ray", "fail_fast",
    "photos", "judges", "model.chunk", "start",  # the digests of whose pictures are in the ids of jobs
}  # fmt: skip
_NEUTRAL_TRAINER = {
    "accelerator", "devices", "num_nodes", "logger", "profiler", "detect_anomaly", "benchmark", "barebones",
    "enable_progress_bar", "enable_model_summary", "enable_checkpointing", "log_every_n_steps", "default_root_dir",
    "deterministic", "inference_mode", "model_registry",
}  # fmt: skip
_NOTHING = {"model.penalties", "trainer.callbacks"}
"""Options of which an empty list is the same as none."""


def differences(saved: Mapping[str, Any], asked: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Which settings differ that may change pictures: the option, its value in ``saved``, and in ``asked``.

    The arguments of classes that differ are left out.

    Args:
        saved, asked: parsed options, nested as in a config file.
    """
    then, now = _flat(saved), _flat(asked)
    found = [(key, then.get(key), now.get(key)) for key in sorted(then.keys() | now.keys())]
    found = [difference for difference in found if difference[1] != difference[2]]
    others = tuple(f"{key.removesuffix('class_path')}init_args." for key, *_ in found if key.endswith(".class_path"))
    return [difference for difference in found if not difference[0].startswith(others)]


def difference_rows(found: Sequence[tuple[str, Any, Any]]) -> list[str]:
    """At most `SHOWN` lines of what differs, short values first, and one that says how many more do.

    >>> difference_rows([("seed", 0, 5)])
    ['  seed: 0 in the run, 5 now']
    """
    rows = [(key, str(then), str(now)) for key, then, now in found]
    rows.sort(key=lambda row: max(len(row[1]), len(row[2])) > _LONG)
    told = [f"  {key}: {_cut(then)} in the run, {_cut(now)} now" for key, then, now in rows[:SHOWN]]
    return told + [f"  and {len(rows) - SHOWN} more"] * (len(rows) > SHOWN)


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        name = f"{prefix}{key}"
        if name in _NEUTRAL or (prefix == "trainer." and key in _NEUTRAL_TRAINER):
            continue
        if name == "trainer.strategy" and entry != "ddp":  # the number of ddp ranks is in the ids of its jobs
            continue
        if isinstance(entry, Mapping):
            flat |= _flat(entry, f"{name}.")
        elif key == "class_path":
            flat[name] = _defined(entry)
        elif name == "targets" and isinstance(entry, str):
            flat[name] = [entry]
        else:
            flat[name] = None if name in _NOTHING and not entry else _as_plain(entry)
    return flat


def _as_plain(value: Any) -> Any:
    """A parsed value with dicts and lists only: the parser leaves nested Namespaces in one pass and not in another."""
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, Mapping):
        return {key: _defined(entry) if key == "class_path" else _as_plain(entry) for key, entry in value.items()}
    return [_as_plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def _defined(path: Any) -> Any:
    """The path of a class where it is defined, of one by which it can be imported too; the module has been imported if options named it."""
    module, _, name = str(path).rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else path
