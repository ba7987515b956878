"""What one job leaves in the run folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lightning_fv.runs.entries import refuse_foreign_entries
from lightning_fv.runs.files import remove_partials, write_text_atomic
from lightning_fv.runs.record import Record, write_manifest


class JobFolder:
    """What one job leaves on disk: logs, checkpoints, frames of the film, and its records.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def done_file(self) -> Path:
        """The job's records; exists if and only if all its pictures are written."""
        return self.path / "done.jsonl"

    @property
    def unfinished_file(self) -> Path:
        """Records of a job that was stopped or failed, until it is resumed."""
        return self.path / "unfinished.jsonl"

    @property
    def error_file(self) -> Path:
        """The traceback of the error that a job failed with."""
        return self.path / "error.txt"

    @property
    def evidence_file(self) -> Path:
        """How far each of the job's pictures can be trusted; written by ``lightning-fv report``."""
        return self.path / "evidence.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def user_checkpoints(self) -> Path:
        """Where a user's ModelCheckpoint without a folder of its own saves: these stay when the job is done."""
        return self.path / "model_checkpoints"

    @property
    def frames(self) -> Path:
        return self.path / "frames"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that a job makes in its own."""
        return self.checkpoints, self.user_checkpoints, self.frames

    def frame(self, step: int) -> Path:
        """The file of the film's frame after ``step`` optimizer steps."""
        return self.frames / f"{step:08d}.jpg"

    def frame_steps(self) -> list[int]:
        """Optimizer steps of the existing frames, in order."""
        steps = sorted(int(frame.stem) for frame in self.frames.glob("*.jpg") if frame.stem.isdecimal())
        return [step for step in steps if self.frame(step).is_file()]  # not of a file with fewer zeros

    def frame_files(self) -> list[Path]:
        """The existing frames, in order."""
        return [self.frame(step) for step in self.frame_steps()]

    def mark_done(self, records: Sequence[Record]) -> None:
        """Write the records of a job all of whose pictures are written; checkpoints are no longer needed.

        Raises:
            OSError: the file cannot be written.
        """
        write_manifest(self.done_file, records)
        self.unfinished_file.unlink(missing_ok=True)
        self.error_file.unlink(missing_ok=True)

    def mark_unfinished(self, records: Sequence[Record], traceback: str = "") -> None:
        """Write the records of a job that was stopped or failed, with the traceback of what it failed with, if any.

        Raises:
            OSError: the file cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        write_manifest(self.unfinished_file, records)
        if traceback:
            write_text_atomic(self.error_file, traceback)

    def begin(self) -> None:
        """Prepare for a render: remove earlier records and the temporary files of interrupted writes.

        Raises:
            RunFolderError: the folder holds a link, a pipe, a socket or a device, to which the render would write.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        refuse_foreign_entries(self.path)
        self.done_file.unlink(missing_ok=True)  # the job may have been done and lost a picture since
        self.unfinished_file.unlink(missing_ok=True)
        remove_partials(self.path)

    def clear_checkpoints(self) -> None:
        """Remove the checkpoints of a job that is done: each is ten times as large as its pictures."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
