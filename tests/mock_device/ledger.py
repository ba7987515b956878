"""What is counted on the mock device: operations and waits of the host, by the line of source that asks for them."""

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

import lightning_fv

_PACKAGE = f"{Path(lightning_fv.__file__).parent}/"
_PASSED_OVER = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parent}/")


@dataclass
class Counts:
    """What happened on the device while this was counting.

    Attributes:
        operations: by source line; views are none, and each is one kernel or more.
        names: the same, by name of the operation.
        waits: of the host for the device, by source line and kind: a copy between host and device, or a number that is read.
    """

    operations: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)

    def without(self, file: str) -> "Counts":
        """Those of other files: checkpoints come by time, in whatever step that is."""
        operations = {line: count for line, count in self.operations.items() if not line.startswith(f"{file}:")}
        waits = {key: count for key, count in self.waits.items() if not key[0].startswith(f"{file}:")}
        return Counts(Counter(operations), Counter(self.names), Counter(waits))


class Ledger:
    """Notes operations and waits in all `Counts` that are counting.

    Attributes:
        debug_mode: of ``torch.cuda.set_sync_debug_mode``: ``default``, ``warn`` or ``error``.
    """

    def __init__(self) -> None:
        self._counting: list[Counts] = []
        self.debug_mode = "default"

    @contextlib.contextmanager
    def counting(self) -> Iterator[Counts]:
        """Count what happens in this block."""
        counts = Counts()
        with self.adding_to(counts):
            yield counts

    @contextlib.contextmanager
    def adding_to(self, counts: Counts) -> Iterator[None]:
        """Add what happens in this block to counts."""
        self.start(counts)
        try:
            yield
        finally:
            self.stop(counts)

    def start(self, counts: Counts) -> None:
        self._counting.append(counts)

    def stop(self, counts: Counts) -> None:
        self._counting = [other for other in self._counting if other is not counts]

    def operation(self, name: str) -> None:
        if self._counting:
            line = source_line()
            for counts in self._counting:
                counts.operations[line] += 1
                counts.names[name] += 1

    def wait(self, kind: str) -> None:
        if self.debug_mode == "error":
            raise RuntimeError(f"called a synchronizing CUDA operation ({kind} at {source_line()})")
        if self.debug_mode == "warn":
            warnings.warn(f"called a synchronizing CUDA operation ({kind} at {source_line()})", stacklevel=2)
        if self._counting:
            line = source_line()
            for counts in self._counting:
                counts.waits[line, kind] += 1


def source_line() -> str:
    """The innermost line of the package that is running, such as ``functional/color.py:34``; if there is none, of whatever is
    neither torch nor the mock device."""
    other, frame = "", sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE):
            return f"{name.removeprefix(_PACKAGE)}:{frame.f_lineno}"
        if not other and not name.startswith(_PASSED_OVER):
            other = f"{name.rpartition('site-packages/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return other
