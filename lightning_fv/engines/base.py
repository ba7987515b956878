"""What computes the jobs of a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lightning_fv.engines.plan import Plan
from lightning_fv.runs.job import Job
from lightning_fv.runs.record import Record


@dataclass
class JobResult:
    """What became of a job.

    Attributes:
        job: the job.
        records: one per target.
        pictures: (B, 3, H, W) on the CPU, if this process rendered them now, else None.
        earlier: whether the job was done before this run began.
        signal: the number of the signal that stopped the job, or None.
        error: the exception that the job failed with, if it was raised in this process.
    """

    job: Job
    records: list[Record]
    pictures: Tensor | None = None
    earlier: bool = False
    signal: int | None = None
    error: Exception | None = None

    @property
    def has_failures(self) -> bool:
        """Whether a target that was rendered now, or was to be, is not done."""
        return not self.earlier and any(record.status != "done" for record in self.records)


class Engine(Protocol):
    """Renders the jobs of a plan.

    Engines differ in who computes, never in what: a job's pictures depend on the job alone.
    """

    def run(self, plan: Plan) -> Iterator[JobResult]:
        """Render the jobs, and yield one result for each in the order in which they end.

        Jobs that are done in the run folder are not rendered again; their results come first. After a result with a
        signal there are no more; nor after one with failures, if the plan is to fail fast.

        Raises:
            FeatureVisualizationError: what the user has to mend; finished jobs are kept.
        """
        ...
