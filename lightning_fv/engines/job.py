"""One job in this process: a `Trainer.fit`, and the handling of its errors."""

import contextlib
import copy
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from torch import Tensor

from lightning_fv.callbacks import ArtifactWriter, GracefulStop, ImageLogger, RenderProgress
from lightning_fv.engines.base import JobResult
from lightning_fv.engines.config import job_origin
from lightning_fv.engines.isolation import matmul_precision
from lightning_fv.engines.logger import quiet_writer_threads
from lightning_fv.engines.plan import Plan, copied
from lightning_fv.engines.trainer import make_trainer, release
from lightning_fv.errors import (
    DISK_ERRORS,
    DeviceMemoryError,
    FeatureVisualizationError,
    RunFolderError,
    UsageError,
    first_line,
    warn,
)
from lightning_fv.optimization.final_pictures import final_pictures
from lightning_fv.optimization.objective_gradient import out_of_memory
from lightning_fv.optimization.score import assess
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.photos.statistics import PhotoStatistics
from lightning_fv.runs.checkpoints import StepCheckpoint, latest_checkpoint
from lightning_fv.runs.job import Job
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.record import Record


@contextlib.contextmanager
def job_renderer(plan: Plan, progress: RenderProgress | None) -> Iterator[Callable[[Job], JobResult]]:
    """Everything that the jobs of this process have in common; the network is restored afterwards.

    The callbacks that jobs run with are the given objects, as in Lightning. Each job starts with their state from before the
    first, and they keep that of the last.

    Args:
        plan: what to render.
        progress: the progress line, if one is shown.

    Yields:
        A function that renders a job. An exception of the job itself makes it ``failed``, unless the plan says to raise
        it; errors that concern the whole run are raised: usage, the run folder, the disk, the device.
    """

    begun = False
    callbacks = plan.setup.callbacks
    restore_callbacks = restorer(callbacks) if len(plan.jobs) > 1 else lambda: None

    def render(job: Job) -> JobResult:
        nonlocal begun
        if begun:
            restore_callbacks()
        begun = True
        try:
            with quiet_writer_threads():
                return _fit(plan, job, progress)
        except SystemExit as exit_:
            if isinstance(exit_.__context__, KeyboardInterrupt):  # Lightning's answer to it
                raise KeyboardInterrupt from None
            raise
        except MisconfigurationException as error:  # options that do not go together, the same for every job
            raise UsageError(f"the Trainer cannot start: {' '.join(str(error).split())}") from error
        except Exception as error:
            too_large = isinstance(error, DeviceMemoryError) or out_of_memory(error)
            if plan.setup.shared or (not too_large and (plan.raise_errors or concerns_the_run(error))):
                raise
            return _failed(plan, job, error, too_large)

    if not plan.setup.shared:
        rank_zero_only.rank = 0  # type: ignore[attr-defined]  # each worker writes its own logs, whatever LOCAL_RANK says
    with plan.setup.network.frozen(), matmul_precision(plan.setup.matmul_precision):
        yield render


def restorer(callbacks: Sequence[pl.Callback]) -> Callable[[], None]:
    """A function that gives callbacks the state that they have now, any number of times.

    Raises:
        UsageError: one of them cannot be copied.
    """
    saved = copied(callbacks)

    def restore() -> None:
        for callback, now in zip(callbacks, copy.deepcopy(saved), strict=True):
            # Not the values alone: what refers to the copy, such as a method that it has as an attribute, has the same state.
            callback.__dict__ = now.__dict__

    return restore


def concerns_the_run(error: Exception) -> bool:
    """Whether the next job would fail too, so that trying all of them would be pointless."""
    if isinstance(error, UsageError | RunFolderError):
        return True
    device_is_lost = "CUDA error" in str(error)
    return device_is_lost or (isinstance(error, OSError) and error.errno in DISK_ERRORS)


def _failed(plan: Plan, job: Job, error: Exception, too_large: bool) -> JobResult:
    """The result of a job that failed while others may succeed; reported in a warning."""
    reason, expected = first_line(error), too_large or isinstance(error, FeatureVisualizationError)
    if too_large and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if expected:
        return failed_job(plan, job, reason)
    result = failed_job(plan, job, f"{type(error).__name__}: {reason}", "".join(traceback.format_exception(error)))
    result.error = error
    return result


def failed_job(plan: Plan, job: Job, reason: str, trace: str = "") -> JobResult:
    """Mark a job as failed in its folder, with a warning.

    Args:
        plan: what the job belongs to.
        job: the job.
        reason: why, in one line.
        trace: the traceback, if it would help.
    """
    records = plan.blank_records(job.targets, "failed", error=reason)
    where = ""
    if plan.folder is not None:
        folder = plan.folder.job(job)
        try:
            folder.mark_unfinished(records, trace)
            where = f"; traceback: {folder.error_file}" if trace else ""
        except OSError as disk:
            plan.errors.add("records of failed jobs", disk)
    warn(f"job {job.id} ({job.text}) failed: {reason}{where}")
    return JobResult(job, records)


def _fit(plan: Plan, job: Job, progress: RenderProgress | None) -> JobResult:
    setup = plan.setup
    folder = None if plan.folder is None else plan.folder.job(job)
    bound = setup.visualizer.bind(setup.network, job.targets, setup.seed, job.start)
    callbacks = _callbacks(plan, job, progress)
    writer = next((callback for callback in callbacks if isinstance(callback, ArtifactWriter)), None)
    callbacks.append(finish := _Finish(writer, setup.statistics))
    last = None
    if folder is not None:
        if setup.writes:
            folder.begin()
        last = latest_checkpoint(folder.checkpoints, before=setup.options["max_steps"])
    trainer = make_trainer(setup.trainer_options(), callbacks, plan.folder, folder, plan.errors)
    if trainer.logger is not None:
        trainer.logger.log_hyperparams({"targets": [target.text for target in job.targets], **setup.settings})
    try:
        with _user_checkpoints(setup.callbacks, folder):
            trainer.fit(bound, ckpt_path=last, weights_only=True)
    finally:
        trainer.strategy.checkpoint_io.teardown()  # a callback's on_exception that fails keeps Lightning from it
        release(trainer)
    complete = trainer.global_step >= setup.options["max_steps"]
    if plan.folder is not None and folder is not None and setup.writes and plan.folder.done(job) is not None:
        folder.clear_checkpoints()
    stopped = None if complete else plan.stop.received or _received(callbacks)
    if not complete and stopped is None:
        steps = f"{trainer.global_step} of {setup.options['max_steps']}"
        return failed_job(
            plan, job, f"the fit ended after {steps} steps: a callback or an option of the Trainer stopped it"
        )
    return JobResult(job, finish.records, finish.pictures, signal=stopped)


class _Finish(pl.Callback):
    """Keeps the records and the pictures of a fit that has ended, from when they were on its device.

    Afterwards Lightning moves the pictures to the CPU, and leaves the network where it was.

    Args:
        writer: has the records already; None if nothing is written.
        statistics: of what the units respond to photos, if they are known.
    """

    def __init__(self, writer: ArtifactWriter | None, statistics: PhotoStatistics | None) -> None:
        self._writer, self._statistics, self._start = writer, statistics, time.monotonic()
        self.records: list[Record] = []
        self.pictures: Tensor | None = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        if self._writer is not None:
            self.records = self._writer.records
        else:
            step, seconds = trainer.global_step, time.monotonic() - self._start
            self.records = assess(pl_module, step, seconds, step >= trainer.max_steps, self._statistics)
        self.pictures = final_pictures(pl_module).images


@contextlib.contextmanager
def _user_checkpoints(callbacks: Sequence[pl.Callback], folder: JobFolder | None) -> Iterator[None]:
    """Let a user's checkpoint callbacks save into the job's folder, and afterwards have no folder, as they were given."""
    own = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    for callback in own:
        callback.dirpath = None if folder is None else str(folder.user_checkpoints)
    try:
        yield
    finally:
        for callback in own:
            callback.dirpath = None


def _received(callbacks: list[pl.Callback]) -> int | None:
    """The signal that another rank received, if ranks share the job."""
    return next((callback.received for callback in callbacks if isinstance(callback, GracefulStop)), None)


def _callbacks(plan: Plan, job: Job, progress: RenderProgress | None) -> list[pl.Callback]:
    """The shipped callbacks and the given ones; a given one replaces the shipped one of its class.

    A given ModelCheckpoint saves what its user wants beside the checkpoints that the job resumes from.
    """
    setup, options = plan.setup, plan.setup.options
    given: list[Any] = list(setup.callbacks)
    shipped: list[pl.Callback] = [GracefulStop(plan.stop.asked)]
    if progress is not None and not any(isinstance(callback, ProgressBar) for callback in given):
        shipped.append(progress)
    if plan.folder is not None:
        if setup.writes:
            shipped.append(ArtifactWriter())
        if options.get("logger") is not False:
            shipped.append(ImageLogger())
        if options.get("enable_checkpointing") in (None, True):
            shipped.append(StepCheckpoint(plan.folder.job(job).checkpoints, setup.checkpoint_seconds))
    own = {type(callback) for callback in given}
    callbacks = given + [callback for callback in shipped if type(callback) not in own]
    for callback in callbacks:
        if isinstance(callback, ArtifactWriter | ImageLogger):
            callback.errors = plan.errors
        if isinstance(callback, ArtifactWriter) and plan.folder is not None:
            callback.attach(plan.folder, plan.folder.job(job), job.photos, setup.statistics)
            callback.origin = job_origin(plan, job)
    return callbacks
