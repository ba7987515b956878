"""The protocol of engines, and the result of a job."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lightning_fv.engines.plan import Plan
from lightning_fv.runs.job import Job
from lightning_fv.runs.record import Record


@dataclass
class JobResult:
    """The result of a job.

    Attributes:
        job: the job.
        records: one per target.
        pictures: (B, 3, H, W) on the CPU, if this process rendered them now, else None.
        earlier: whether the job was done before this run began.
        signal: the number of the signal that stopped the job, or None.
        error: the unexpected exception that the job failed with, if it was raised in this process.
    """

    job: Job
    records: list[Record]
    pictures: Tensor | None = None
    earlier: bool = False
    signal: int | None = None
    error: Exception | None = None

    @property
    def has_failures(self) -> bool:
        """Whether any target is not done, unless the job ended before this run began."""
        return not self.earlier and any(record.status != "done" for record in self.records)


class Engine(Protocol):
    """Renders the jobs of a plan.

    Engines differ in where they compute, never in what: a job's pictures depend on the job alone.
    """

    def run(self, plan: Plan) -> Generator[JobResult, None, None]:
        """Render the jobs, and yield one result for each in the order in which they finish.

        Jobs that are done in the run folder are not rendered again; their results come first. No result
        follows one with a signal, or one with failures if the plan is to fail fast.

        Raises:
            FeatureVisualizationError: something that the user has to fix; finished jobs are kept.
        """
        ...
