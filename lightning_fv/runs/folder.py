"""What can be wrong with an output folder, said before any work."""

import os
from collections.abc import Iterator
from pathlib import Path

from lightning_fv.errors import RunFolderError


def check_new_folder(folder: Path) -> None:
    """Look whether a folder can be made and written, without making it.

    Raises:
        RunFolderError: it, or what it is to stand in, is a file or may not be written; or it holds something already.
    """
    check_parent(folder)
    if folder.is_dir() and not is_vacant(folder):
        raise RunFolderError(
            f"--out {folder} is not empty; choose another folder, or go on with a run in it by --resume"
        )


def is_vacant(folder: Path) -> bool:
    """Whether a folder holds nothing, or only what a kill left of an unfinished write."""
    return all(file.name.startswith(".") and file.suffix == ".partial" for file in folder.iterdir())


def check_parent(folder: Path) -> None:
    """Look whether a folder, or the first one above it that is there, can be written.

    Raises:
        RunFolderError: it is a file, or may not be written.
    """
    there = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), folder)
    if not there.is_dir():
        what = "is a link to nothing" if there.is_symlink() else "is a file"
        raise RunFolderError(f"--out {folder}: {there} {what}; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunFolderError(f"--out {folder}: {there} may not be written; choose another folder")


def refuse_links(folder: Path) -> None:
    """Look for symbolic links in a run folder, which would lead what the run writes to elsewhere.

    Raises:
        RunFolderError: there is one; naming it.
    """
    link = next(_links(folder), None)
    if link is not None:
        raise RunFolderError(
            f"{link} is a link to {os.readlink(link)}, and a run writes only inside of its folder; "
            "put the thing itself in the link's place"
        )


def _links(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                yield from _links(Path(entry.path))
