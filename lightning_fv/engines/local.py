"""All jobs in this process, one after another, with nothing on disk."""

from collections.abc import Generator

from lightning_fv.engines.base import JobResult
from lightning_fv.engines.job import job_renderer
from lightning_fv.engines.plan import Plan
from lightning_fv.engines.progress import shown_progress


class LocalEngine:
    """Renders without a run folder: the pictures exist only in the results."""

    def run(self, plan: Plan) -> Generator[JobResult, None, None]:
        """See `lightning_fv.engines.base.Engine.run`."""
        with shown_progress(plan) as progress, job_renderer(plan, progress) as render:
            for job in plan.jobs:
                result = render(job)
                if progress is not None:
                    progress.job_done()
                yield result
                if result.signal is not None or (plan.fail_fast and result.has_failures):
                    return
