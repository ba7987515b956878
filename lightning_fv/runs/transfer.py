"""A job's files as bytes, to send between machines that share no file system."""

import functools
from collections.abc import Mapping
from typing import BinaryIO

from lightning_fv.runs.files import read_file, write_atomic
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import Job


def pack(run: RunFolder, job: Job, checkpoints_only: bool = False) -> dict[str, bytes]:
    """What a job has left in a run folder: its own folder, and its pictures, by name in the run.

    Args:
        run: the run folder.
        job: the job.
        checkpoints_only: leave out everything but what the job can resume from.
    """
    folder = run.job(job)
    files = [file for file in folder.checkpoints.glob("*") if file.is_file()]
    if not checkpoints_only:
        pictures = [run.picture(target.id, complete) for target in job.targets for complete in (True, False)]
        files = [file for file in [*folder.path.rglob("*"), *pictures] if file.is_file()]
    return {run.relative(file): read_file(file) for file in files}


def unpack(run: RunFolder, job: Job, files: Mapping[str, bytes]) -> None:
    """Write packed files, each atomically; the one that marks the job as done comes last.

    Args:
        run: the run folder.
        job: the job.
        files: from `pack`.

    Raises:
        OSError: a file cannot be written.
    """
    folder = run.job(job)
    done = run.relative(folder.done_file)
    for name in sorted(files, key=lambda name: name == done):
        path = run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, functools.partial(_write, files[name]), durable=path.parent != folder.frames)
    if done in files:
        for leftover in (folder.unfinished_file, folder.error_file):
            leftover.unlink(missing_ok=True)
        for target in job.targets:
            run.picture(target.id, complete=False).unlink(missing_ok=True)
        folder.clear_checkpoints()


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
