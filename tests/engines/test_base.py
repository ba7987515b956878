"""Results of jobs, whichever engine they come from."""

import pytest

from lightning_fv.engines.base import JobResult
from lightning_fv.runs.record import Status
from tests.engines.runs import tiny_plan


@pytest.mark.parametrize(
    ("statuses", "earlier", "failures"),
    [
        (["done", "done"], False, False),
        (["done", "dead"], False, True),
        (["diverged", "done"], False, True),
        (["partial", "partial"], False, True),
        (["failed", "failed"], False, True),
        (["done", "dead"], True, False),  # of an earlier run: this one is not to end because of it
    ],
)
def test_failures_are_of_what_was_rendered_now(statuses: list[Status], earlier: bool, failures: bool) -> None:
    plan = tiny_plan("logits:0-1")
    (job,) = plan.jobs
    records = [plan.blank_records([target], status)[0] for target, status in zip(job.targets, statuses, strict=True)]
    assert JobResult(job, records, earlier=earlier).has_failures == failures
