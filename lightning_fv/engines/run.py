"""A run from plan to report, whichever engine computes it."""

from dataclasses import dataclass, field

from torch import Tensor

from lightning_fv.engines.base import Engine
from lightning_fv.engines.plan import Plan
from lightning_fv.report import write_report
from lightning_fv.runs.record import Record


@dataclass
class Outcome:
    """The result of a run.

    Attributes:
        records: of all targets, in order.
        pictures: (B, 3, H, W) by job id, of the jobs that this process rendered, if they were asked for.
        signal: the number of the signal that stopped it, or None.
        error: the first exception that a job failed with in this process.
        failed_fast: whether the run ended at a target that is not done.
    """

    records: list[Record]
    pictures: dict[str, Tensor] = field(default_factory=dict)
    signal: int | None = None
    error: Exception | None = None
    failed_fast: bool = False


def run_plan(engine: Engine, plan: Plan, keep_pictures: bool = False) -> Outcome:
    """Render a plan and write its report; call it inside ``with plan.stop``.

    Args:
        engine: computes the jobs.
        plan: what to render.
        keep_pictures: whether to return the pictures, which need memory.

    Raises:
        FeatureVisualizationError: something that the user has to fix.
    """
    outcome = Outcome([])
    found: dict[str, list[Record]] = {}
    for result in engine.run(plan):
        found[result.job.id] = result.records
        outcome.signal = result.signal
        outcome.error = outcome.error or result.error
        outcome.failed_fast = plan.fail_fast and result.has_failures
        if keep_pictures and result.pictures is not None:
            outcome.pictures[result.job.id] = result.pictures
    outcome.signal = outcome.signal or plan.stop.received
    outcome.records = [record for job in plan.jobs for record in found.get(job.id) or plan.known_records(job)]
    if plan.folder is not None and plan.setup.writes:
        write_report(plan.folder, outcome.records, [plan.folder.job(job) for job in plan.jobs], plan.errors)
    return outcome
