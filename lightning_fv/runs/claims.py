"""Claims: locks that are released when the process holding them ends, however it ends."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def claim(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold an exclusive `flock` on a file; the kernel releases it when the process ends, even by kill -9.

    The file names the process that holds it, for information only. It is never removed: if it were removed and created
    again, two processes could each hold a lock on a different file.

    Args:
        path: the lock file; its folder exists.
        wait: wait for another process to release it instead of giving up at once.

    Yields:
        Whether the claim is held: False if another process has it. Also True where the file system does not support
        locks (see `locks_work`): the process then proceeds as if it were alone.
    """
    with path.open("a+") as file:
        held = _lock(file, wait)
        try:
            if held:
                _write_holder(file, f"process {os.getpid()} on {socket.gethostname()}")
            yield held
        finally:
            if held:
                _write_holder(file, "")


def locks_work(folder: Path) -> bool:
    """Whether the file system of a folder has `flock`: not on Windows, and not on every network file system."""
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


def _write_holder(file: IO[str], text: str) -> None:
    with contextlib.suppress(OSError):  # on a full disk the lock still holds
        file.truncate(0)
        file.write(text)
        file.flush()
