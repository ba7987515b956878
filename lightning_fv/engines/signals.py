"""The only signal handlers: Ctrl-C, SIGTERM and SIGHUP ask a run to stop gracefully."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Literal

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
        self._undo = contextlib.ExitStack()

    def asked(self) -> int | None:
        """The signal that asks this process to stop, or None. The death of a worker's parent counts as SIGTERM."""
        if self.received is None and is_orphaned():
            self.received = signal.SIGTERM
        return self.received

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            with contextlib.ExitStack() as undo:  # in reverse order, and also if something fails here
                for number in NUMBERS:
                    before = signal.getsignal(number)
                    if number == HANGUP and before == signal.SIG_IGN:
                        continue  # nohup: the run is to outlive its terminal
                    if before is not None:  # else set outside of Python, beyond recovery
                        signal.signal(number, self._take)
                        undo.callback(signal.signal, number, before)
                self._watch_wakeup(undo)
                self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _watch_wakeup(self, undo: contextlib.ExitStack) -> None:
        """Watch Python's wake-up descriptor, to which the interpreter writes a byte for each signal at once.

        Python runs handlers between bytecodes, and a backward pass may take seconds: then two signals become one call.
        """
        reader, writer = socket.socketpair()
        undo.callback(reader.close)
        undo.callback(writer.close)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=self._watch, args=(reader, before), name="second Ctrl-C", daemon=True)
        thread.start()
        undo.callback(thread.join)
        undo.callback(writer.shutdown, socket.SHUT_WR)  # ends the thread, also if a forked process has the same socket
        undo.callback(_set_wakeup, before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.again = self.received is not None
        if self.received is None:
            self.received = number
            self.on_stop()
        elif number == signal.SIGINT and self.second == "raise":
            raise KeyboardInterrupt

    def _watch(self, reader: socket.socket, before: int) -> None:
        interrupts = 0
        while numbers := reader.recv(64):
            interrupts += numbers.count(signal.SIGINT)
            if interrupts > 1 and self.second == "exit":
                os._exit(128 + signal.SIGINT)
            if others := bytes(number for number in numbers if number not in NUMBERS):
                with contextlib.suppress(OSError):  # whoever watched before, such as an event loop, gets the others
                    os.write(before, others)


def _set_wakeup(descriptor: int) -> None:
    try:
        signal.set_wakeup_fd(descriptor)
    except (OSError, ValueError):  # it has been closed meanwhile
        signal.set_wakeup_fd(-1)


def is_orphaned() -> bool:
    """Whether another worker started this process and has ended since."""
    return _PARENT_ID is not None and str(os.getppid()) != _PARENT_ID
