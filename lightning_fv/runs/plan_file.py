"""The file that says which jobs a run consists of, so that no process continues it with others."""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.files import read_file, write_new_text
from lightning_fv.runs.job import FORMAT, Job, differences


def register(run: Path, file: Path, jobs: Sequence[Job], settings: Mapping[str, Any], fresh: bool) -> None:
    """Record which jobs a run consists of, or compare with the record of the process that started it.

    Args:
        run: the run's folder, for messages.
        file: the record; its folder is created.
        jobs: all of them, in order.
        settings: plain values that their ids were made from, to say what differs.
        fresh: whether no job has been started yet, so that the record may be made.

    Raises:
        RunFolderError: these are not the run's jobs, or another version started it.
    """
    ids = hashlib.blake2b(" ".join(job.id for job in jobs).encode()).hexdigest()[:16]
    known = {"targets": [target.text for job in jobs for target in job.targets], **settings}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if fresh and not file.exists():
            with contextlib.suppress(FileExistsError):
                write_new_text(file, json.dumps({"format": FORMAT, "jobs": ids, "settings": known}))
        found = json.loads(read_file(file))
    except FileNotFoundError:
        raise RunFolderError(
            f"{run} has lost {file}, so that nothing tells which pictures it holds; choose another folder"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "damaged"
        raise RunFolderError(f"cannot use {run}: {file.name}: {reason}; choose another folder") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RunFolderError(
            f"{run} was started by another version of lightning_fv, whose pictures may differ; "
            "resume with that version, or choose another folder"
        )
    if found.get("jobs") != ids:
        saved = found.get("settings")
        differing = differences(saved, json.loads(json.dumps(known))) if isinstance(saved, dict) else []
        what = "; ".join(differing) or "the code, a file or a setting of an objective differs"
        raise RunFolderError(
            f"{run} holds a run of other pictures: {what}; restore what it was started with, or choose another folder"
        )


def recorded_settings(file: Path) -> dict[str, Any]:
    """The settings in a record of `register`; empty if it is missing or damaged."""
    try:
        found = json.loads(read_file(file))["settings"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}
