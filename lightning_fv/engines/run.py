"""A run from plan to report, whichever engine computes it."""

import contextlib
from dataclasses import dataclass, field

from torch import Tensor

from lightning_fv.engines.base import Engine
from lightning_fv.engines.plan import Plan
from lightning_fv.report import write_report
from lightning_fv.runs.job import Job
from lightning_fv.runs.record import Record


@dataclass
class Outcome:
    """The result of a run.

    Attributes:
        records: of all targets, in order.
        found: by job id, of the jobs that this process rendered or found to be done.
        pictures: (B, 3, H, W) by job id, of the jobs that this process rendered, if they were asked for.
        signal: the number of the signal that stopped it, or None.
        failed_fast: whether the run ended at a target that is not done.
    """

    records: list[Record] = field(default_factory=list)
    found: dict[str, list[Record]] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    signal: int | None = None
    failed_fast: bool = False


def run_plan(engine: Engine, plan: Plan, keep_pictures: bool = False) -> Outcome:
    """Render a plan and write its report; call it inside ``with plan.stop``. See `render_plan`."""
    outcome = render_plan(engine, plan, keep_pictures)
    report_plan(plan, outcome)
    return outcome


def render_plan(engine: Engine, plan: Plan, keep_pictures: bool = False) -> Outcome:
    """Render a plan; call it inside ``with plan.stop``.

    Args:
        engine: computes the jobs.
        plan: what to render.
        keep_pictures: whether to return the pictures, which need memory.

    Returns:
        The outcome, whose records are still to come: see `report_plan`.

    Raises:
        FeatureVisualizationError: something that the user has to fix.
    """
    outcome = Outcome()
    with contextlib.closing(engine.run(plan)) as results:  # so that an exception here restores the network at once
        for result in results:
            outcome.found[result.job.id] = result.records
            outcome.signal = outcome.signal or result.signal
            outcome.failed_fast = outcome.failed_fast or (plan.fail_fast and result.has_failures)
            if keep_pictures and result.pictures is not None:
                outcome.pictures[result.job.id] = result.pictures
    outcome.signal = outcome.signal or plan.stop.received
    return outcome


def report_plan(plan: Plan, outcome: Outcome) -> None:
    """Write the report of a run, and take its records over: other processes may have got further meanwhile."""

    def collect() -> list[Record]:
        return [record for job in plan.jobs for record in _latest(plan, job, outcome.found.get(job.id))]

    if plan.folder is not None and plan.setup.writes:
        jobs = [plan.folder.job(job) for job in plan.jobs]
        outcome.records = write_report(plan.folder, collect, jobs, plan.errors)
    else:
        outcome.records = collect()


def _latest(plan: Plan, job: Job, found: list[Record] | None) -> list[Record]:
    """What is known of a job: what this process found, unless it was not the end of it."""
    if found is not None and not {record.status for record in found} & {"failed", "partial", "pending"}:
        return found
    return (plan.folder.done(job) if plan.folder is not None else None) or found or plan.known_records(job)
