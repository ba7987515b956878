"""Claims: locks that are released when the process holding them ends, however it ends."""

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from lightning_fv.runs.files import open_file


@contextlib.contextmanager
def claim(path: Path, wait: bool = False, locks: bool = True) -> Iterator[int]:
    """Hold an exclusive `flock` on a file; the kernel releases it when the process ends, even by kill -9.

    The file names the process that holds it, and is emptied when the claim is released in order. It is never removed: if
    it were removed and created again, two processes could each hold a lock on a different file.

    Args:
        path: the lock file; its folder exists.
        wait: wait for another process to release it instead of giving up at once.
        locks: whether the file system has locks (see `locks_work`); without, the claim is always held.

    Yields:
        0 if another process holds the claim, else the number of the attempt: 1, and one more for each holder in a row
        that died with the claim.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        held = not locks or _lock(descriptor, wait)
        attempt = _deaths(descriptor) + 1 if held else 0
        if held:
            _write_holder(descriptor, f"process {os.getpid()} on {socket.gethostname()}, attempt {attempt}")
        try:
            yield attempt
        finally:
            if held:
                _write_holder(descriptor, "")
    finally:
        os.close(descriptor)


def locks_work(folder: Path) -> bool:
    """Whether the file system of a folder has `flock`: not on Windows, and not on every network file system."""
    if sys.platform == "win32":
        return False
    import fcntl

    with contextlib.suppress(OSError):
        descriptor = open_file(folder / "test.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return True
    return False


def _lock(descriptor: int, wait: bool) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl  # here: Windows has none

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another process holds it; or a network file system has lost its lock server for a moment
        return wait
    return True


def _deaths(descriptor: int) -> int:
    """How many holders in a row have died with the claim: the last one has left its name."""
    with contextlib.suppress(OSError):
        if match := re.search(rb"attempt (\d{1,4})$", os.pread(descriptor, 1024, 0)):  # anything else is damage
            return int(match[1])
    return 0


def _write_holder(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):  # on a full disk the lock still holds
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
