"""The only signal handlers: Ctrl-C, SIGTERM and SIGHUP ask a run to stop gracefully."""

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

PARENT = "LIGHTNING_FV_PARENT"
"""Environment variable: the process id of the worker that started this one."""

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""What a closed terminal sends; Windows has none."""

NUMBERS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None else [HANGUP]))
"""The signals that ask a run to stop."""

# Taken out of the environment, so that what this process starts does not take itself for such a worker.
_PARENT_ID = os.environ.pop(PARENT, None)


class StopSignals:
    """While entered, `NUMBERS` are recorded instead of ending the process; a SIGHUP that is ignored, as under ``nohup``, is not.

    Outside the main thread, where Python allows no handlers, this has no effect.

    Attributes:
        received: the number of the first signal, or None.
        again: whether there was a second one.
        second: what a second Ctrl-C does: ``raise`` KeyboardInterrupt, as in Python; ``exit`` at once, even where no Python
            code runs (every file is written atomically, so nothing needs cleaning up); or ``record`` it in ``again`` only.
        on_stop: called in the main thread when the first signal comes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.again = False
        self.second: Literal["raise", "exit", "record"] = "raise"
        self.on_stop: Callable[[], None] = lambda: None
        self._before: dict[int, Any] = {}
        self._wakeup: tuple[socket.socket, socket.socket] | None = None
        self._wakeup_before = -1

    def asked(self) -> int | None:
        """The signal that asks this process to stop, or None. The death of a worker's parent counts as SIGTERM."""
        if self.received is None and is_orphaned():
            self.received = signal.SIGTERM
        return self.received

    def install(self) -> None:
        """Install the handlers; again after Lightning's, which on SIGTERM would end a fit without a checkpoint."""
        if self._before:
            for number in self._before:
                signal.signal(number, self._take)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in NUMBERS}
            if HANGUP is not None and self._before[HANGUP] == signal.SIG_IGN:
                del self._before[HANGUP]  # nohup: the run is to outlive its terminal
            self.install()
            # Python runs handlers between bytecodes, and a backward pass may take seconds: then two signals become one call.
            # The wake-up descriptor gets a byte for each at once.
            self._wakeup = socket.socketpair()
            for end in self._wakeup:
                end.setblocking(False)
            self._wakeup_before = signal.set_wakeup_fd(self._wakeup[1].fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(self._wakeup[0],), name="second Ctrl-C", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            for end in reversed(self._wakeup):  # the writing end first: the thread reads the end of the stream
                end.close()
            self._wakeup = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.again = self.received is not None
        if self.received is None:
            self.received = number
            self.on_stop()
        elif number == signal.SIGINT and self.second == "raise":
            raise KeyboardInterrupt

    def _watch(self, descriptor: socket.socket) -> None:
        interrupts = 0
        with contextlib.suppress(OSError, ValueError):  # closed on exit
            while select.select([descriptor], [], [])[0] and (numbers := descriptor.recv(64)):
                interrupts += numbers.count(signal.SIGINT)
                if interrupts > 1 and self.second == "exit":
                    os._exit(128 + signal.SIGINT)


def is_orphaned() -> bool:
    """Whether another worker started this process and has ended since."""
    return _PARENT_ID is not None and str(os.getppid()) != _PARENT_ID
