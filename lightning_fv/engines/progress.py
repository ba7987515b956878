"""The progress line of a run."""

import contextlib
from collections.abc import Iterator

from lightning_fv.callbacks import RenderProgress
from lightning_fv.engines.plan import Plan


@contextlib.contextmanager
def shown_progress(plan: Plan) -> Iterator[RenderProgress | None]:
    """A run's progress line, closed at the end; None if it is switched off or this is not the first process."""
    wanted = plan.setup.options.get("enable_progress_bar") in (None, True) and plan.setup.rank.rank == 0
    if not wanted:
        yield None
        return
    count = plan.folder.count_done if plan.folder is not None else None
    progress = RenderProgress(len(plan.jobs), len(plan.targets), count)
    try:
        yield progress
    finally:
        progress.close()
