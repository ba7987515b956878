"""Atomic writes, after which a file is either complete or absent, and reads that never wait for a pipe or a device."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lightning_fv.errors import RunFolderError, warn

_PARTIAL = ".partial"


def check_name(folder: Path) -> None:
    """Check that a folder can have its name, and that there is room for the names of files inside.

    Raises:
        RunFolderError: it cannot.
    """
    try:
        os.lstat(folder / ("x" * 200))
    except ValueError as error:  # a null character, or one that the file system's encoding lacks
        raise RunFolderError(f"no folder can be called {folder} ({error}); choose another name") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise RunFolderError(f"the name {str(folder)[:80]}... is too long; choose a shorter one") from None


def write_atomic(path: Path, write: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """Write a file so that ``path`` holds the old content or all of the new, even after kill -9 or on a full disk.

    The content goes to a temporary file in the same folder (another folder may be another disk), is synced, and is
    renamed in one step; if anything fails, the temporary file is removed and ``path`` is unchanged.

    Args:
        path: the file to write; its folder exists.
        write: puts the content into the open binary file it is given.
        durable: whether it must survive a power cut as well; costs a sync of the disk, milliseconds.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    _write(path, write, durable, os.replace)


def write_text_atomic(path: Path, text: str, durable: bool = True) -> None:
    """`write_atomic` for UTF-8 text."""
    write_atomic(path, lambda file: file.write(text.encode()), durable)


def write_new_text(path: Path, text: str) -> None:
    """As `write_text_atomic`, for a new file: of several processes one writes it, the others get an error.

    Raises:
        FileExistsError: the file exists.
        OSError: the folder cannot be written or is full.
    """

    def move(temporary: str, path: Path) -> None:
        try:
            os.link(temporary, path)  # unlike a rename, it never replaces a file
        except FileExistsError:
            raise
        except OSError:  # no hard links, as on FAT: still exclusive, though a kill may leave the file empty
            with open(path, "xb") as file:
                file.write(text.encode())
        os.unlink(temporary)

    _write(path, lambda file: file.write(text.encode()), True, move)


class NotAFileError(OSError):
    """What was to be opened as a file is a folder, a pipe, a socket or a device."""


def open_file(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. Unlike `open`, never waits for the other end of a pipe, and opens no device.

    Args:
        path: the file; a link is followed.
        flags: as for `os.open`.

    Raises:
        NotAFileError: ``path`` is a folder, a pipe, a socket or a device.
        OSError: as from `os.open`.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_regular(path, os.stat(path).st_mode)  # first: opening a device may already have an effect
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)  # it may have been replaced in between
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: str | Path) -> bytes:
    """The content of a regular file; see `open_file`.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    with os.fdopen(open_file(path), "rb") as file:
        return file.read()


def kind_of(mode: int) -> str:
    """What a file mode stands for, in words."""
    kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link"}
    kinds |= {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_regular(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotAFileError(errno.EINVAL, f"it is {kind_of(mode)}, not a file", str(path))


def remove_partials(folder: Path) -> None:
    """Remove temporary files of interrupted writes below a folder that no other process is writing to."""
    for path in folder.rglob(f".*{_PARTIAL}"):
        with contextlib.suppress(OSError):  # they do no harm
            path.unlink()


@dataclass
class WriteErrors:
    """What a run could not write, while the render goes on.

    Attributes:
        reasons: why, by what could not be written; each is reported once, in a warning.
    """

    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, error: Exception) -> None:
        """Record that ``what``, such as ``checkpoints``, cannot be written, and warn the first time."""
        if what not in self.reasons:
            told = [getattr(cause, "strerror", None) for cause in (error, error.__cause__)]
            self.reasons[what] = next(filter(None, told), f"{type(error).__name__}: {error}")
            warn(f"{what}: cannot be written ({self.reasons[what]}); the run continues without")

    def __bool__(self) -> bool:
        return bool(self.reasons)


def _write(path: Path, write: Callable[[BinaryIO], object], durable: bool, move: Callable[[str, Path], None]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0600 would hide results from colleagues
        move(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
