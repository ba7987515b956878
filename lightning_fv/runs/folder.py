"""The run folder: every path, file name and status that a run leaves on disk, defined nowhere else."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fv.errors import RunFolderError, warn
from lightning_fv.runs.claims import claim, locks_work
from lightning_fv.runs.digests import digest, file_digest, is_sealed, seal
from lightning_fv.runs.entries import check_entries, check_parent, refuse_link
from lightning_fv.runs.files import NotAFileError, check_name, read_file, write_new_text, write_text_atomic
from lightning_fv.runs.job import Job
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.plan_file import recorded_settings, register
from lightning_fv.runs.record import Record, read_manifest

_RENDERED, _STOPPED = {"done", "dead", "diverged"}, {"partial", "failed", "diverged"}


class RunFolder:
    """A run on disk: settings, jobs with their claims and statuses, pictures, and the report.

    The folder is also the run's work queue: a process that claims a job renders it, marks it done, and takes
    the next free one (see `lightning_fv.engines.workers`).

    Args:
        path: the folder; it need not exist.

    Raises:
        RunFolderError: no folder can have that name.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_name(self.path)
        self._locks = True

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
        """The film: the pictures as they develop."""
        return self.path / "progress.webp"

    @property
    def gallery(self) -> Path:
        """The page for browsing the pictures."""
        return self.path / "gallery.html"

    @property
    def evidence(self) -> Path:
        """One line of JSON per picture: how far it can be trusted; written by ``lightning-fv report``."""
        return self.path / "evidence.jsonl"

    def thumbnail(self, digest: str) -> Path:
        """A photo that is shown beside pictures, by the digest of its bytes."""
        return self.path / "photos" / f"{digest}.jpg"

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
        """A file's path as in the run's records: relative to the run folder, with forward slashes."""
        return file.relative_to(self.path).as_posix()

    def job(self, job: Job | str) -> JobFolder:
        """The folder of a job, given the job or its id."""
        return JobFolder(self.jobs / (job if isinstance(job, str) else job.id))

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    def job_folders(self) -> list[JobFolder]:
        """The folders of all jobs that were started."""
        return [JobFolder(path) for path in sorted(self.jobs.glob("*")) if path.is_dir()]

    def start_photo(self, digest: str) -> Path:
        """A photo that the run starts from, by the digest of its pixels."""
        return self._state / f"start-{digest}.png"

    @property
    def _state(self) -> Path:
        """Locks of running processes, and what identifies the run's jobs and what they start from."""
        return self.path / ".run"

    # -- making one --------------------------------------------------------------------------------------------------

    def check_new(self) -> None:
        """Check that the folder can be created and written, without creating it.

        Raises:
            RunFolderError: it or its nearest existing parent is a file or not writable; or it is not empty.
        """
        check_parent(self.path)
        try:
            str(self.path).encode()
        except UnicodeEncodeError:
            raise RunFolderError(
                f"the output folder {self.path} is not valid UTF-8, which TensorBoard's logs require; choose another name"
            ) from None
        if self.path.is_dir() and not self._is_vacant():
            raise RunFolderError(
                f"the output folder {self.path} is not empty and holds no run; choose another folder, or the folder of a run to continue it"
            )

    def begun(self) -> bool:
        """Whether a run was started here: something has the name of its settings, be it damaged or no file at all."""
        return os.path.lexists(self.config)

    def check_settings(self) -> None:
        """Check that the run's settings are those that it was started with.

        Raises:
            RunFolderError: they were truncated or modified, or cannot be read.
        """
        try:
            reason = "" if is_sealed(read_file(self.config)) else "it does not end with the digest of its settings"
        except OSError as error:
            reason = error.strerror or str(error)
        if reason:
            raise RunFolderError(
                f"{self.config} was truncated or modified since the run was started ({reason}); restore it, "
                "or start a new run with --config COPY_OF_IT --out ANOTHER_FOLDER"
            )

    def create(self, config: str | None = None) -> None:
        """Create the folder, or take an empty one; of several processes that try at once, one succeeds.

        Args:
            config: the run's settings for its ``config.yaml``, with their digest (see `check_settings`). Creating that file
                takes the folder: a process killed here leaves a run that can be resumed, or a folder that is still free.

        Raises:
            FileExistsError: another process has just started a run here.
            RunFolderError: it is not empty, is not a folder, or cannot be created or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.begun():
                raise FileExistsError(self.config)
            if not self._is_vacant():
                if self.begun():  # since the last look
                    raise FileExistsError(self.config)
                raise RunFolderError(f"{self.path} is not empty; choose another folder")
            if config is not None:
                write_new_text(self.config, seal(config))
            self.jobs.mkdir(exist_ok=True)
        except FileExistsError:
            if self.begun():
                raise
            raise RunFolderError(f"{self.path} is a file; choose another folder") from None
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}; choose another folder") from None

    def _is_vacant(self) -> bool:
        """Whether the folder is empty, or holds only temporary files of interrupted writes."""
        return all(file.name.startswith(".") and file.suffix == ".partial" for file in self.path.iterdir())

    def register(self, jobs: Sequence[Job], settings: Mapping[str, Any] | None = None) -> None:
        """Record which jobs the run consists of, or compare with the record of the process that started it; see `plan_file.register`.

        Raises:
            RunFolderError: these are not the run's jobs, or another version started it.
        """
        register(self.path, self._state / "plan.json", jobs, settings or {}, fresh=not any(self.jobs.glob("*")))

    def started_with(self) -> dict[str, Any]:
        """The settings that `register` recorded; empty if they cannot be read."""
        return recorded_settings(self._state / "plan.json")

    def check_entries(self) -> None:
        """Check that nothing in the folder is a link, a pipe, a socket or a device, or a folder in the place of a file.

        Raises:
            RunFolderError: there is such a thing; the message names it.
        """
        names = {folder.name for folder in JobFolder(self.jobs).folders}
        check_entries(self.path, {self.images, self.partial, self._state}, self.jobs, names)

    def refuse_linked_folders(self, job: JobFolder) -> None:
        """Refuse links that have been put in the place of folders in which a job writes since `check_entries`.

        Raises:
            RunFolderError: there is one.
        """
        for folder in (self.images, self.partial, self.jobs, self._state, job.path, *job.folders):
            refuse_link(folder)

    # -- the queue ---------------------------------------------------------------------------------------------------

    def locks_work(self) -> bool:
        """Whether several processes can share the run: its file system must have `flock`."""
        self._locks = locks_work(self._state)
        return self._locks

    @contextlib.contextmanager
    def claim(self, job: Job, rank: int = 0) -> Iterator[int]:
        """Claim a job for this process; see `lightning_fv.runs.claims.claim`.

        Args:
            job: the job.
            rank: of the ranks that share a job (ddp), each has its own claim.

        Raises:
            RunFolderError: its lock file is not a file, the run folder is gone, or the job is free and would write through
                a link.
        """
        name = f"{job.id}.lock" if rank == 0 else f"{job.id}.{rank}.lock"
        with contextlib.ExitStack() as held:
            try:
                attempt = held.enter_context(claim(self._state / name, locks=self._locks))
            except NotAFileError as error:
                raise RunFolderError(f"cannot lock {self._state / name}: {error.strerror}; remove it") from None
            except FileNotFoundError:
                raise RunFolderError(
                    f"{self._state} is gone: it was removed or moved while this process used it; "
                    "continue the run where it is now, or start it again"
                ) from None
            if attempt:
                self.refuse_linked_folders(self.job(job))
            yield attempt

    def claim_evidence(self, job: JobFolder) -> contextlib.AbstractContextManager[int]:
        """Claim the evaluation of a job's pictures; see `lightning_fv.runs.claims.claim`.

        Raises:
            OSError: the lock file cannot be opened.
        """
        return claim(self._state / f"{job.path.name}.evidence.lock", locks=self._locks)

    def report_lock(self) -> contextlib.AbstractContextManager[int]:
        """Wait until no other process is writing the report.

        Raises:
            OSError: the lock file cannot be opened.
        """
        self._state.mkdir(exist_ok=True)
        return claim(self._state / "report.lock", wait=True)

    def done(self, job: Job) -> list[Record] | None:
        """A job's records if it is done, else None. Done: its records and pictures are all there, with the bytes that they
        were written with. What is marked as done and is not is reported in a warning: it will be rendered again."""
        file = self.job(job).done_file
        try:
            records = read_manifest(file)
            if [record.id for record in records] != [target.id for target in job.targets]:
                raise ValueError("its records are not those of the job")
            for record in records:
                if record.status not in _RENDERED or not record.is_intact(self.path):
                    raise ValueError(f"{record.image or record.target} is missing or was changed")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            warn(f"{file}: {reason}; the job is rendered again")
            return None
        return records

    def unfinished(self, job: Job) -> list[Record] | None:
        """A job's records if it was stopped or failed and has not been resumed, else None."""
        try:
            records = read_manifest(self.job(job).unfinished_file)
        except (OSError, ValueError):
            return None
        known = [(record.id, record.status in _STOPPED) for record in records]
        return records if known == [(target.id, True) for target in job.targets] else None

    def failure(self, job: Job) -> int | None:
        """When a job failed, on the file system's clock in nanoseconds; None if it did not, or was resumed."""
        try:
            stamp = self.job(job).unfinished_file.stat().st_mtime_ns
        except OSError:
            return None
        records = self.unfinished(job)
        return stamp if records and any(record.status == "failed" for record in records) else None

    def count_done(self) -> int:
        """How many jobs are marked as done; costs one file system lookup per job."""
        return sum(1 for _ in self.jobs.glob("*/done.jsonl"))

    # -- the report --------------------------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """The records of the run's manifest.

        Raises:
            RunFolderError: there is none, or it is damaged.
        """
        remedy = f"lightning-fv --resume --out {self.path}"
        try:
            return read_manifest(self.manifest)
        except FileNotFoundError:
            raise RunFolderError(
                f"{self.path} holds no {self.manifest.name}; give the folder of a run, or finish a killed one with {remedy}"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise RunFolderError(f"{self.manifest} is damaged ({reason}); write it again with {remedy}") from None

    def reported(self) -> str:
        """Digest of the records that the report was made from, as `note_report` has it; empty if it is gone or was changed."""
        try:
            made_from, _, files = read_file(self._state / "report").decode().partition(" ")
            return made_from if files == self._report_digest() else ""
        except (OSError, ValueError):
            return ""

    def note_report(self, made_from: str) -> None:
        """Record the digest of what the report was made from; an empty one clears the record."""
        with contextlib.suppress(OSError):  # then the next process writes the report once more
            write_text_atomic(self._state / "report", made_from and f"{made_from} {self._report_digest()}")

    def _report_digest(self) -> str:
        files = [self.manifest, self.sheet, self.gallery, *([self.film] if os.path.lexists(self.film) else [])]
        return digest(*(file_digest(file).encode() for file in files))
