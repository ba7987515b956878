"""What stands in the way of a run: a place that cannot be written; links, pipes, sockets and devices in its folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.files import kind_of

_FILE_SUFFIXES = {".ckpt", ".html", ".jpg", ".json", ".jsonl", ".lock", ".png", ".txt", ".webp", ".yaml"}


def check_entries(run: Path, folders: set[Path], jobs: Path, job_folders: set[str]) -> None:
    """Check that a run folder holds only files and folders, and that each of the run's names stands for what it should.

    Args:
        run: the folder.
        folders: those in it, besides ``jobs``.
        jobs: the folder of the jobs' folders.
        job_folders: names of the folders in a job's folder.

    Raises:
        RunFolderError: there is something else; the message names it.
    """
    own = {run, jobs, *folders}
    for path, is_folder in plain_entries(run):
        if path.parent == jobs:
            own |= {path, *(path / name for name in job_folders)}
        if path in own and not is_folder:
            raise RunFolderError(f"{path} is a file where the run needs a folder; remove it")
        if path not in own and is_folder and path.parent in own and path.suffix in _FILE_SUFFIXES:
            raise RunFolderError(f"{path} is a folder where the run needs a file; remove it")


def refuse_foreign_entries(folder: Path) -> None:
    """Refuse what is neither a file nor a folder anywhere below a folder.

    Raises:
        RunFolderError: there is a link, a pipe, a socket or a device; the message names it.
    """
    for _ in plain_entries(folder):
        pass


def plain_entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """All files and folders below a folder, in order, and whether each is a folder.

    Raises:
        RunFolderError: one is neither; the message names it.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):  # a worker has cleared the checkpoints of a job that it finished
        return
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be read: {error.strerror}; change its permissions") from None
    for entry in found:
        path = Path(entry.path)
        if entry.is_symlink():
            refuse_link(path)
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder and not entry.is_file(follow_symlinks=False):
            try:
                kind = kind_of(entry.stat(follow_symlinks=False).st_mode)
            except FileNotFoundError:
                continue
            raise RunFolderError(f"{path} is {kind}, and a run folder holds only files and folders; remove it")
        yield path, is_folder
        if is_folder:
            yield from plain_entries(path)


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link in a run folder.

    Raises:
        RunFolderError: it is one.
    """
    if path.is_symlink():
        raise RunFolderError(
            f"{path} is a link to {os.readlink(path)}, and a run writes only inside its folder; "
            "replace the link with what it points to"
        )


def check_parent(folder: Path) -> None:
    """Check that a folder, or its nearest existing parent, can be written.

    Raises:
        RunFolderError: it is a file, or not writable.
    """
    existing = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), folder)
    if not existing.is_dir():
        what = "is a broken link" if existing.is_symlink() else "is a file"
        raise RunFolderError(f"the output folder {folder}: {existing} {what}; choose another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunFolderError(f"the output folder {folder}: {existing} is not writable; choose another folder")
