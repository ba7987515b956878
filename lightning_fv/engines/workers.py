"""Workers: any number of processes that share a run folder, each taking the next free job."""

import time
from collections.abc import Callable, Generator

from lightning_fv.engines.base import JobResult
from lightning_fv.engines.job import failed_job, job_renderer
from lightning_fv.engines.plan import Plan
from lightning_fv.engines.progress import shown_progress
from lightning_fv.errors import UsageError, warn
from lightning_fv.runs.job import Job

POLL_SECONDS = 0.25
"""Time between checks for a job that has become free."""

MAX_ATTEMPTS = 5
"""Workers that may die in a row while they render a job: it may be what kills them, as by its need for memory."""

FAILURES_IN_A_ROW = 3
"""Consecutive failures after which a worker gives up: the fault is then probably its own or common to all jobs."""


class WorkerEngine:
    """Claims jobs of the run folder one at a time, renders them, and marks them as done.

    Other workers on the same folder do the same. A claim is a `flock`, which the kernel releases when its process ends,
    so the job of a worker that died is free at once, and resumes from its last checkpoint in whichever worker takes it.
    A worker may join at any time, by the same command. When all jobs are taken, a worker waits for those of the others:
    one of them may die. A stopped worker (SIGSTOP) holds its claim.

    Args:
        joined: called once if another worker is at work when this one begins.
    """

    def __init__(self, joined: Callable[[], None] | None = None) -> None:
        self._joined = joined

    def run(self, plan: Plan) -> Generator[JobResult, None, None]:
        """See `lightning_fv.engines.base.Engine.run`. There is a result for each job, whoever rendered it.

        Raises:
            UsageError: there are several workers, and the file system of the run folder has no locks.
        """
        folder, jobs = plan.folder, plan.jobs
        assert folder is not None
        if not folder.locks_work():
            if plan.setup.rank.ranks > 1:
                raise UsageError(
                    f"the file system of {folder} has no locks (flock), which several workers need; "
                    "choose another folder, or --engine ray"
                )
            warn(f"the file system of {folder} has no locks: do not start a second worker there")
        waiting: dict[str, Job] = {}
        for job in jobs:
            if (records := folder.done(job)) is not None:
                folder.job(job).clear_checkpoints()  # a kill may have prevented that
                yield JobResult(job, records, earlier=True)
            else:
                waiting[job.id] = job
        # Jobs that failed before are tried again, once by this worker, unless another has just done so; after the others.
        failed_before = {job_id: folder.failure(job) for job_id, job in waiting.items()}
        waiting = dict(sorted(waiting.items(), key=lambda item: failed_before[item[0]] is not None))
        joined = self._joined
        in_a_row, known_done = 0, len(jobs) - len(waiting)
        with shown_progress(plan) as progress, job_renderer(plan, progress) as render:

            def take(job: Job) -> JobResult | None:
                """The result of a job, whoever rendered it; None while another worker has it."""
                nonlocal joined
                with folder.claim(job) as attempt:
                    told, joined = (
                        joined,
                        None,
                    )  # jobs that are taken later may be taken by a worker that joins this one
                    if not attempt:
                        if told is not None:
                            told()
                        return None
                    if (records := folder.done(job)) is not None:
                        return JobResult(job, records)
                    if folder.failure(job) not in (None, failed_before[job.id]):
                        return JobResult(job, folder.unfinished(job) or plan.known_records(job))
                    if attempt > MAX_ATTEMPTS:
                        return failed_job(plan, job, f"{attempt - 1} workers in a row died while they rendered it")
                    return render(job)

            while waiting and plan.stop.asked() is None:
                result = next((found for job in list(waiting.values()) if (found := take(job)) is not None), None)
                if result is None:
                    if progress is not None:
                        progress.refresh()
                    time.sleep(POLL_SECONDS)
                    continue
                del waiting[result.job.id]
                known_done += not {record.status for record in result.records} & {"failed", "partial"}
                if progress is not None:
                    progress.job_done(known_done)
                yield result
                if result.signal is not None or (plan.fail_fast and result.has_failures):
                    return
                if result.error is not None and failed_before[result.job.id] is None:
                    in_a_row += 1
                elif result.pictures is not None:
                    in_a_row = 0
                if in_a_row == FAILURES_IN_A_ROW:
                    warn(f"{in_a_row} jobs failed in a row: this worker takes no more")
                    return
