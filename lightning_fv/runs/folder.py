"""The run folder: every path, file name and status that a run leaves on disk. Nobody else spells them."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.claims import claim, locks_work
from lightning_fv.runs.files import write_new_text, write_text_atomic
from lightning_fv.runs.job import FORMAT, Job
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.record import Record, read_manifest

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of every PNG


class RunFolder:
    """A run on disk: settings, jobs with their claims and states, pictures, and the report made of them.

    The folder is also the run's work queue: a process that holds the claim of a job renders it, marks it done, and takes
    the next free one (see `lightning_fv.engines.workers`).

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    # -- names -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Path:
        """All settings of the run, as YAML."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """One line of JSON per target; written at the end of the run."""
        return self.path / "manifest.jsonl"

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self.path / "sheet.png"

    @property
    def film(self) -> Path:
        """The pictures growing."""
        return self.path / "progress.webp"

    @property
    def gallery(self) -> Path:
        """The page to look through the pictures."""
        return self.path / "gallery.html"

    @property
    def images(self) -> Path:
        """Finished pictures."""
        return self.path / "images"

    @property
    def partial(self) -> Path:
        """Pictures of jobs that were stopped."""
        return self.path / "partial"

    def picture(self, target_id: str, complete: bool = True) -> Path:
        """The file of a target's picture, finished or not."""
        return (self.images if complete else self.partial) / f"{target_id}.png"

    def relative(self, file: Path) -> str:
        """The name of a file of the run in its records: relative to the run, with forward slashes."""
        return file.relative_to(self.path).as_posix()

    def job(self, job: Job | str) -> JobFolder:
        """The folder of a job, given by itself or its id."""
        return JobFolder(self.jobs / (job if isinstance(job, str) else job.id))

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    def job_folders(self) -> list[JobFolder]:
        """The folders of all jobs that were begun."""
        return [JobFolder(path) for path in sorted(self.jobs.glob("*")) if path.is_dir()]

    @property
    def _state(self) -> Path:
        """Locks of the processes at work, and what the run consists of."""
        return self.path / ".run"

    # -- making one --------------------------------------------------------------------------------------------------

    def check_new(self) -> None:
        """Look whether the folder can be made and written, without making it.

        Raises:
            RunFolderError: it, or what it is to stand in, is a file or may not be written; or it holds something already.
        """
        check_parent(self.path)
        if self.path.is_dir() and not self._is_vacant():
            raise RunFolderError(
                f"--out {self.path} is not empty and holds no run; choose another folder, or one with a run to go on with it"
            )

    def begun(self) -> bool:
        """Whether a run was begun here: it has settings."""
        return self.config.is_file()

    def create(self, config: str | None = None) -> None:
        """Make the folder, or take an empty one; of processes that ask at once, one gets it.

        Args:
            config: the run's settings for its ``config.yaml``. Writing that file is what takes the folder, so that a
                process killed here leaves either a run that can be resumed or a folder that can be taken.

        Raises:
            FileExistsError: another process has just begun a run here.
            RunFolderError: it holds something already, is no folder, or cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.begun():
                raise FileExistsError(self.config)
            if not self._is_vacant():
                raise RunFolderError(f"{self.path} is not empty; choose another folder")
            if config is not None:
                write_new_text(self.config, config)
            self.jobs.mkdir(exist_ok=True)
        except FileExistsError:
            if self.begun():
                raise
            raise RunFolderError(f"{self.path} is a file; choose another folder") from None
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}; choose another folder") from None

    def _is_vacant(self) -> bool:
        """Whether the folder holds nothing, or only what a kill left of an unfinished write."""
        return all(file.name.startswith(".") and file.suffix == ".partial" for file in self.path.iterdir())

    def register(self, jobs: Sequence[Job]) -> None:
        """Write down what the run consists of, or compare with what the process that began it wrote.

        Raises:
            RunFolderError: these are not the run's jobs, or another version began it.
        """
        plan = {"format": FORMAT, "jobs": hashlib.blake2b(" ".join(j.id for j in jobs).encode()).hexdigest()[:16]}
        file = self._state / "plan.json"
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            if not file.exists() and not any(self.jobs.glob("*")):
                with contextlib.suppress(FileExistsError):
                    write_new_text(file, json.dumps(plan))
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or f"{file} is damaged"
            raise RunFolderError(f"cannot use {self.path}: {reason}; choose another folder") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise RunFolderError(
                f"{self.path} was begun by another version of lightning_fv, whose pictures may differ; "
                "go on with that version, or choose another folder"
            )
        if found != plan:
            raise RunFolderError(
                f"{self.path} holds a run of other pictures: the weights, the code of a class, or the number of ddp ranks "
                "is not what it was begun with; go on with those, or choose another folder"
            )

    def refuse_links(self) -> None:
        """Look for symbolic links in the folder, which would lead what the run writes elsewhere.

        Raises:
            RunFolderError: there is one; naming it.
        """
        link = next(_links(self.path), None)
        if link is not None:
            raise RunFolderError(
                f"{link} is a link to {os.readlink(link)}, and a run writes only inside its folder; "
                "put the thing itself in the link's place"
            )

    # -- the queue ---------------------------------------------------------------------------------------------------

    def locks_work(self) -> bool:
        """Whether several processes can share the run: its file system must have `flock`."""
        return locks_work(self._state)

    def claim(self, job: Job, rank: int = 0) -> contextlib.AbstractContextManager[bool]:
        """Claim a job for this process; see `lightning_fv.runs.claims.claim`.

        Args:
            job: the job.
            rank: of the ranks that share a job (ddp), each has a claim of its own.
        """
        return claim(self._state / (f"{job.id}.lock" if rank == 0 else f"{job.id}.{rank}.lock"))

    def report_lock(self) -> contextlib.AbstractContextManager[bool]:
        """Wait until no other process writes the report."""
        self._state.mkdir(exist_ok=True)
        return claim(self._state / "report.lock", wait=True)

    def done(self, job: Job) -> list[Record] | None:
        """A job's records if it is done, else None: all can be read, and the pictures are there to their ends."""
        try:
            records = read_manifest(self.job(job).done_file)
        except (OSError, ValueError, TypeError):  # not there, not JSON, or of another format
            return None
        complete = [record.id for record in records] == [target.id for target in job.targets]
        there = all(record.image is None or _is_whole(self.path / record.image) for record in records)
        return records if complete and there else None

    def unfinished(self, job: Job) -> list[Record] | None:
        """A job's records if it was stopped or failed, and not taken up again, else None."""
        try:
            records = read_manifest(self.job(job).unfinished_file)
        except (OSError, ValueError, TypeError):
            return None
        return records if [record.id for record in records] == [target.id for target in job.targets] else None

    def failure(self, job: Job) -> int | None:
        """When a job failed, on the file system's clock in nanoseconds; None if it did not, or was taken up again."""
        try:
            stamp = self.job(job).unfinished_file.stat().st_mtime_ns
        except OSError:
            return None
        records = self.unfinished(job)
        return stamp if records and any(record.status == "failed" for record in records) else None

    def count_done(self) -> int:
        """How many jobs are marked as done; costs one look at the file system per job."""
        return sum(1 for _ in self.jobs.glob("*/done.jsonl"))

    # -- the report --------------------------------------------------------------------------------------------------

    def reported(self) -> str:
        """Digest of the records that the report was made from, as `note_report` was told; empty if there is no report."""
        try:
            whole = all(file.is_file() for file in (self.manifest, self.sheet, self.gallery))
            return (self._state / "report").read_text(encoding="utf-8") if whole else ""
        except (OSError, ValueError):
            return ""

    def note_report(self, digest: str) -> None:
        """Note what the report was made from; an empty digest takes the note back."""
        with contextlib.suppress(OSError):  # then the next process writes the report once more
            write_text_atomic(self._state / "report", digest)


def next_version(parent: Path, name: str = "version") -> RunFolder:
    """Make ``parent/version_N`` with the first free N; two runs started together never share one.

    Raises:
        RunFolderError: it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(match[1]) for f in parent.glob(f"{name}_*") if (match := re.fullmatch(rf"{name}_(\d+)", f.name))]
        number = max(taken, default=-1) + 1
        while True:
            with contextlib.suppress(FileExistsError):
                (parent / f"{name}_{number}").mkdir()
                return RunFolder(parent / f"{name}_{number}")
            number += 1
    except OSError as error:
        raise RunFolderError(f"cannot write to {parent}: {error.strerror}; choose a folder with --out") from None


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


def _links(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                yield from _links(Path(entry.path))


def _is_whole(picture: Path) -> bool:
    """Whether a PNG is there and was not cut, as by a copy that did not come to its end."""
    try:
        with picture.open("rb") as file:
            file.seek(-len(_PNG_END), os.SEEK_END)
            return file.read() == _PNG_END
    except OSError:  # not there, or shorter than that
        return False
