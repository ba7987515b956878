"""Processes on a pseudo-terminal of their own, which the test can close as a window is closed."""

import contextlib
import os
import sys
from typing import Any

from tests.processes import Process, start_python

_ATTACH = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.dup2(0, 1); os.dup2(0, 2); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Terminal:
    """A terminal; as a context manager it is closed at the end."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)

    def start_python(self, *words: object, **options: Any) -> Process:
        """As `tests.processes.start_python`, with this as the terminal of the process and of what it starts."""
        return start_python("-c", _ATTACH, *words, stdin=self._slave, **options)

    def read(self) -> str:
        """What has been written since the last call."""
        told = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._master, 65536):
                told += chunk
        return told.decode()

    def close(self) -> None:
        """Hang up: SIGHUP for the processes in the foreground; what they write from now on is an error."""
        for end in (self._slave, self._master):
            with contextlib.suppress(OSError):
                os.close(end)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


assert sys.platform == "linux", "terminals are closed in other ways elsewhere"
