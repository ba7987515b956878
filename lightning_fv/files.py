"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: Path, write: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """Write a file so that ``path`` holds the old content or all of the new, also after kill -9 or on a full disk.

    The content goes to a temporary file in the same folder (another folder may be another disk), is synced, and takes
    the name in one step; if anything fails the temporary file is removed and ``path`` is what it was.

    Args:
        path: where the file shall stand; its folder exists.
        write: puts the content into the open binary file it is given.
        durable: whether it must survive a power cut as well; costs a sync of the disk, milliseconds.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0600 would hide results from colleagues
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """`write_atomic` for UTF-8 text."""
    write_atomic(path, lambda file: file.write(text.encode()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
