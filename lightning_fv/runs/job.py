"""Jobs: fixed batches of targets, cut from the list by batch size alone, each one `Trainer.fit`."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fv.runs.record import Record, read_manifest
from lightning_fv.targets import Target

FORMAT = 2
"""Raised when a release makes other pictures from the same settings, or describes settings in another way, so that old
results are not taken for new ones."""

DONE = "done.jsonl"
"""A job's records; there when, and only when, all its pictures are written."""


_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of every PNG

PARTIAL = "partial.jsonl"
"""Records of a job that was stopped, where several ranks share a run."""


@dataclass(frozen=True)
class Job:
    """A batch of targets that is rendered together.

    Attributes:
        id: hash over everything that changes its pictures.
        targets: one picture each.
    """

    id: str
    targets: tuple[Target, ...]

    def folder(self, run: Path) -> Path:
        """Where the job's logs and checkpoints are, inside the run folder."""
        return run / "jobs" / self.id

    def marked(self, run: Path) -> bool:
        """Whether the job says that it is done; costs one look at the file system."""
        return (self.folder(run) / DONE).is_file()

    def partial(self, run: Path) -> list[Record] | None:
        """The job's records as they were when a rank was stopped in the middle of it, else None."""
        try:
            records = read_manifest(self.folder(run) / PARTIAL)
        except (OSError, ValueError, TypeError):
            return None
        return records if [record.id for record in records] == [target.id for target in self.targets] else None

    def done(self, run: Path) -> list[Record] | None:
        """The job's records if it is done, else None: all of them can be read, and the pictures are there to their ends."""
        file = self.folder(run) / DONE
        try:
            records = read_manifest(file) if file.is_file() else []
        except (ValueError, TypeError):  # not JSON, or of another format
            return None
        whole = [record.id for record in records] == [target.id for target in self.targets]
        there = all(record.image is None or _is_whole(run / record.image) for record in records)
        return records if whole and there else None

    def unmark(self, run: Path) -> None:
        """Take back the mark of a job that is to be begun again: it may have been done, and have lost a picture since."""
        (self.folder(run) / DONE).unlink(missing_ok=True)

    def clear_checkpoints(self, run: Path) -> None:
        """Remove what a done job needs no more: a checkpoint is ten times as large as the pictures in it."""
        shutil.rmtree(self.folder(run) / "checkpoints", ignore_errors=True)


def _is_whole(picture: Path) -> bool:
    """Whether a PNG is there and was not cut, as by a copy that did not come to its end."""
    try:
        with picture.open("rb") as file:
            file.seek(-len(_PNG_END), os.SEEK_END)
            return file.read() == _PNG_END
    except OSError:  # not there, or shorter than that
        return False


def make_jobs(targets: Sequence[Target], batch_size: int, settings: Mapping[str, Any]) -> list[Job]:
    """Cut targets into jobs of ``batch_size``, in order; the last may be smaller.

    Args:
        targets: what to render.
        batch_size: pictures in a job.
        settings: plain values, all that changes a picture beside its target: network and its digest, recipe, seed, steps.
    """
    jobs = []
    for start in range(0, len(targets), batch_size):
        batch = tuple(targets[start : start + batch_size])
        key = json.dumps([FORMAT, [target.key for target in batch], settings], sort_keys=True, default=repr)
        jobs.append(Job(hashlib.blake2b(key.encode(), digest_size=6).hexdigest(), batch))
    return jobs
