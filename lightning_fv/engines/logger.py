"""Logs of jobs: each job has its own, and the shipped one survives a full disk: the log stops, the render does not."""

import contextlib
import copy
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.job_folder import JobFolder

_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


class FaultTolerantLogger(TensorBoardLogger):
    """Lightning's logger of scalars and settings; a write error ends the log, with a warning, but not the run.

    Args:
        folder: where the event files go.
        errors: records that the log ended.
    """

    def __init__(self, folder: Path, errors: WriteErrors) -> None:
        super().__init__(folder.parent, name="", version=folder.name)
        self.errors = errors
        self._ended = False

    @property
    def experiment(self) -> Any:
        if not self._ended:
            with self._tolerant():
                return super().experiment
        return _NoWriter()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with self._tolerant():
            super().log_metrics(metrics, step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        with self._tolerant():
            super().log_hyperparams(*args, **kwargs)

    def save(self) -> None:
        with self._tolerant():
            super().save()

    def finalize(self, status: str) -> None:
        with self._tolerant():
            super().finalize(status)

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # Lightning wraps OSError in ValueError
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            self._ended = True
            self.errors.add("TensorBoard logs", cause)


class _NoWriter:
    """Accepts every call of a writer and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self


@contextlib.contextmanager
def quiet_writer_threads() -> Iterator[None]:
    """Keep tracebacks of TensorBoard's writer threads off the terminal when the disk is full: the next call reports it."""
    before = threading.excepthook

    def hook(args: Any) -> None:
        if not (type(args.thread).__name__ == "_AsyncWriterThread" and issubclass(args.exc_type, OSError)):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        if threading.excepthook is hook:  # else another was put on top of it, and may call it
            threading.excepthook = before


def job_loggers(given: Any, job: JobFolder) -> list[Any]:
    """A user's loggers for one job: copies, of which those that write files do so in the job's folder.

    Args:
        given: one logger or several, not used yet.
        job: the folder; the paths of what is given are relative to it.
    """
    loggers = copy.deepcopy(list(given) if isinstance(given, list | tuple) else [given])
    for logger in loggers:
        if isinstance(logger, CSVLogger | TensorBoardLogger):
            logger._root_dir = str(job.path / (logger.save_dir or "."))
        if isinstance(logger, CSVLogger):
            logger._save_dir = logger._root_dir
    return loggers


def job_profiler(given: str | Profiler, job: JobFolder) -> str | Profiler:
    """A user's profiler for one job, which writes its report to a file in the job's folder.

    Args:
        given: the profiler, not used yet, or one of Lightning's names.
        job: the folder; the paths of what is given are relative to it.
    """
    profiler = copy.deepcopy(given)
    if isinstance(profiler, str):
        if profiler.lower() not in _PROFILERS:
            return profiler
        profiler = _PROFILERS[profiler.lower()]()
    profiler.dirpath = str(job.path / (profiler.dirpath or "."))
    profiler.filename = profiler.filename or "profile"  # without a name the report would go to a log that nobody sees
    return profiler
