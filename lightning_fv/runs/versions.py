"""Numbered run folders."""

import contextlib
import re
from pathlib import Path

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.folder import RunFolder


def next_version(parent: Path, name: str = "version") -> RunFolder:
    """Create ``parent/version_N`` with the next free N; two runs started together never share one.

    Raises:
        RunFolderError: it cannot be created.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [
            int(match[1]) for f in parent.iterdir() if (match := re.fullmatch(rf"{re.escape(name)}_(\d+)", f.name))
        ]
        number = max(taken, default=-1) + 1
        while True:
            with contextlib.suppress(FileExistsError):
                (parent / f"{name}_{number}").mkdir()
                return RunFolder(parent / f"{name}_{number}")
            number += 1
    except OSError as error:
        raise RunFolderError(f"cannot write to {parent}: {error.strerror}; choose a folder with --out") from None
