"""The Ray engine: jobs as tasks on a cluster whose nodes may join, leave and fail."""

import contextlib
import hashlib
import os
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lightning_fv.engines.base import JobResult
from lightning_fv.engines.plan import Plan, Setup
from lightning_fv.engines.progress import shown_progress
from lightning_fv.engines.ray_cluster import RayOptions, places_for, share_of
from lightning_fv.engines.ray_task import Task, TaskOutcome, run_task, versions
from lightning_fv.errors import UsageError, first_line, note
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import Job
from lightning_fv.runs.transfer import pack, unpack

RETRIES = 3
"""A job that loses its worker more often than this fails: it may be what kills the workers."""

GRACE_SECONDS = 20.0
"""Time for running jobs to save checkpoints when the run is stopped; SLURM and Kubernetes kill after 30 s."""

AHEAD = 16
"""Tasks queued beyond what the cluster can run: an autoscaler sees the demand, and a new node finds work at once."""


@dataclass
class _Attempt:
    """A job that waits or runs.

    Attributes:
        job: the job.
        lost: how often it lost its worker.
        claim: this driver's claim on it in the run folder.
    """

    job: Job
    lost: int = 0
    claim: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class RayEngine:
    """Renders the jobs as tasks of the cluster that `cluster` connects to.

    Tasks render in temporary folders on any node; their files come back through Ray's object store, and this process
    writes them into the run folder. A job whose worker is lost is tried again, three times at most. When the run
    is stopped, running jobs are given time to save a checkpoint.

    Args:
        options: the resources that a job takes.
    """

    def __init__(self, options: RayOptions) -> None:
        self.options = options
        self._said: set[str] = set()

    def run(self, plan: Plan) -> Generator[JobResult, None, None]:
        """See `lightning_fv.engines.base.Engine.run`.

        Raises:
            UsageError: the network or a part of the recipe cannot be sent to another process.
        """
        folder = plan.folder
        assert folder is not None
        plan.stop.second = "record"  # a local Ray has to be shut down too
        waiting: deque[_Attempt] = deque()
        for job in plan.jobs:
            if (records := folder.done(job)) is not None:
                folder.job(job).clear_checkpoints()
                yield JobResult(job, records, earlier=True)
            else:
                waiting.append(_Attempt(job))
        if waiting:
            yield from self._render(plan, folder, waiting)

    def _render(self, plan: Plan, folder: RunFolder, waiting: "deque[_Attempt]") -> Generator[JobResult, None, None]:
        import ray

        share = share_of(self.options, plan.setup.options)
        setup, pattern = _pack(plan.setup, share)
        task = ray.remote(run_task)
        asked = {"num_cpus": share[0], "num_gpus": share[1], "max_retries": 0}  # retries are counted here
        running: dict[Any, _Attempt] = {}
        limit, checked, stuck_since, failed = 0, 0.0, 0.0, False
        with shown_progress(plan) as progress:
            try:
                while (waiting or running) and plan.stop.asked() is None and not failed:
                    now = time.monotonic()
                    if now - checked > 2:
                        places = places_for(share)
                        limit, checked = 2 * places + AHEAD, now
                        stuck_since = stuck_since or now if not places else 0.0
                        if stuck_since and now - stuck_since > 5:
                            self._say(f"no node has {share[0]:g} CPUs and {share[1]:g} GPUs for a job; waiting for one")
                    for _ in range(len(waiting) if len(running) < limit else 0):
                        attempt = waiting.popleft()
                        if not attempt.claim.enter_context(folder.claim(attempt.job)):
                            waiting.append(replace(attempt, claim=contextlib.ExitStack()))  # another process has it
                            continue
                        if (records := folder.done(attempt.job)) is not None:
                            attempt.claim.close()
                            yield JobResult(attempt.job, records)
                            continue
                        folder.job(attempt.job).begin()
                        sent = replace(pattern, job=attempt.job)
                        saved = ray.put(pack(folder, attempt.job, checkpoints_only=True))
                        spread = {"scheduling_strategy": "SPREAD"} if attempt.lost else {}  # preferably on another node
                        running[
                            task.options(name=f"job {attempt.job.id}", **asked, **spread).remote(sent, setup, saved)
                        ] = attempt
                        if len(running) >= limit:
                            break
                    for ref in ray.wait(list(running), timeout=0.5)[0] if running else []:
                        attempt = running.pop(ref)
                        outcome = _collect(ref)
                        if outcome.lost is not None and attempt.lost < RETRIES:
                            left = f"retry {attempt.lost + 1} of {RETRIES}"
                            self._say(f"job {attempt.job.id} lost its worker ({outcome.lost}); {left}")
                            with contextlib.suppress(OSError):
                                unpack(
                                    folder, attempt.job, outcome.files
                                )  # the checkpoint of a worker that was asked to stop
                            attempt.claim.close()
                            waiting.appendleft(_Attempt(attempt.job, attempt.lost + 1))
                            continue
                        result = self._finish(plan, folder, attempt, outcome)
                        if progress is not None:
                            progress.job_done()
                        failed = plan.fail_fast and result.has_failures
                        yield result
                    if not running:
                        time.sleep(0.25)
                    if progress is not None:
                        progress.refresh()
                if running and (failed or plan.stop.asked() is not None):
                    yield from self._stop(plan, folder, running)
            finally:
                for ref, attempt in running.items():
                    with contextlib.suppress(Exception):
                        ray.cancel(ref, force=True)
                    attempt.claim.close()

    def _stop(self, plan: Plan, folder: RunFolder, running: "dict[Any, _Attempt]") -> Generator[JobResult, None, None]:
        """Give running jobs some time to finish their step and save; a second signal ends the wait."""
        import ray

        for ref in running:
            with contextlib.suppress(Exception):  # it may have ended in the meantime
                ray.cancel(ref)  # like Ctrl-C in the worker
        self._say("stopping: running jobs save their checkpoints")
        end = time.monotonic() + GRACE_SECONDS
        while running and time.monotonic() < end and not plan.stop.again:
            for ref in ray.wait(list(running), timeout=0.2)[0]:
                attempt = running.pop(ref)
                outcome = _collect(ref)
                if outcome.lost is None:
                    result = self._finish(plan, folder, attempt, outcome)
                else:  # stopped in mid-job, or cancelled in the queue
                    with contextlib.suppress(OSError):
                        unpack(folder, attempt.job, outcome.files)
                    result = JobResult(attempt.job, outcome.records or plan.known_records(attempt.job))
                    attempt.claim.close()
                yield replace(result, signal=plan.stop.received)

    def _finish(self, plan: Plan, folder: RunFolder, attempt: _Attempt, outcome: TaskOutcome) -> JobResult:
        """Write the files that a job sent back, and report a failure."""
        job, reason, records = attempt.job, outcome.error, outcome.records
        for warning in outcome.warnings:
            self._say(f"warning: {warning}")
        if outcome.lost is not None:
            reason = f"it lost its worker {attempt.lost + 1} times ({outcome.lost})"
        try:
            unpack(folder, job, outcome.files)
            if reason is not None:
                records = plan.blank_records(job.targets, "failed", error=reason)
                folder.job(job).mark_unfinished(records, outcome.traceback or "")
        except OSError as error:
            reason = f"its results cannot be written: {error}"
            records = plan.blank_records(job.targets, "failed", error=reason)
        attempt.claim.close()
        reason = reason or next((record.error for record in records if record.error), None)
        if reason is not None:
            error_file = folder.job(job).error_file
            where = f"; its traceback: {error_file}" if error_file.is_file() else ""
            self._say(f"job {job.id} ({job.text}) failed: {reason}{where}")
        return JobResult(job, records)

    def _say(self, text: str) -> None:
        """Print a line above the progress line; each text once."""
        if text not in self._said:
            self._said.add(text)
            note(f"lightning-fv: {text}")


def _collect(ref: Any) -> TaskOutcome:
    """The outcome of a task; Ray's errors become one line."""
    import ray
    from ray import exceptions

    try:
        outcome: TaskOutcome = ray.get(ref)
        return outcome
    except (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,  # the node left with the result
        exceptions.TaskCancelledError,
    ) as error:
        kind = type(error).__name__.removesuffix("Error")
        return TaskOutcome(lost="its node ran out of memory" if kind == "OutOfMemory" else kind)
    except exceptions.RayTaskError as error:  # before our code ran: the package or a class is missing
        return TaskOutcome(error=f"a worker cannot run it: {_last_line(error)}; install the same packages on all nodes")
    except Exception as error:
        return TaskOutcome(error=_last_line(error))


def _pack(setup: Setup, share: tuple[float, float]) -> tuple[Any, Task]:
    """A reference to the pickled Setup, which goes into the object store once, and what all tasks have in common."""
    import ray
    from ray import cloudpickle

    trainer = {**setup.options, "enable_progress_bar": False}
    if trainer.get("accelerator") in (None, "auto"):
        # A GPU that Ray did not assign is another job's; one that it assigned and torch cannot use must be an error.
        trainer["accelerator"] = "gpu" if share[1] else "cpu"
    shipped = replace(setup, options=trainer)
    assert shipped.settings  # hashed here once, not on each worker
    try:
        content = cloudpickle.dumps(shipped)
    except Exception as error:  # pickling can raise anything
        raise UsageError(f"the network or the recipe cannot be sent to other processes: {first_line(error)}") from None
    # Ray gives its workers as many threads as a task has CPUs; but the rounding of sums depends on that.
    threads = torch.get_num_threads() if os.environ.get("OMP_NUM_THREADS") else max(1, int(share[0]))
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return ray.put(content), Task(Job("", ()), digest, threads, versions())


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
