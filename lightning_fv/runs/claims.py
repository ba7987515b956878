"""Claims: locks that end with the process that holds them, however it ends."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def claim(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold an exclusive `flock` on a file; the kernel releases it when the process ends, also after kill -9.

    The file says which process holds it, for people who look. It is never removed: a file that is removed and made again
    is two files, and two processes could each lock one.

    Args:
        path: the lock file; its folder exists.
        wait: wait for another process to release it instead of giving up at once.

    Yields:
        Whether the claim is held: False if another process has it. True also where the file system knows no locks
        (see `locks_work`): a single process then goes on as if it were alone.
    """
    with path.open("a+") as file:
        held = _lock(file, wait)
        try:
            if held:
                _sign(file, f"process {os.getpid()} on {socket.gethostname()}")
            yield held
        finally:
            if held:
                _sign(file, "")


def locks_work(folder: Path) -> bool:
    """Whether the file system of a folder has `flock`: not on Windows, and not everywhere on network file systems."""
    if sys.platform == "win32":
        return False
    import fcntl

    with (folder / "test.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _lock(file: IO[str], wait: bool) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl  # here: Windows has none

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return True
    return True


def _sign(file: IO[str], text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        file.truncate(0)
        file.write(text)
        file.flush()
