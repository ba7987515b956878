"""A run from plan to report."""

import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_fv.engines.base import JobResult
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import Plan
from lightning_fv.engines.rank import RankInfo
from lightning_fv.engines.run import Outcome, render_plan, report_plan, run_plan
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.runs.record import read_manifest
from tests.engines.runs import Fails, Signal, again, tiny_plan

pytestmark = pytest.mark.filterwarnings("ignore:job .* failed")


def run(plan: Plan) -> Outcome:
    with plan.stop:
        return run_plan(LocalEngine() if plan.folder is None else WorkerEngine(), plan)


def told(outcome: Outcome) -> list[tuple[str, str]]:
    return [(record.target.partition(":")[2], record.status) for record in outcome.records]


def files(plan: Plan) -> dict[str, int]:
    """The report's files; one that is written again is another one."""
    assert plan.folder is not None
    report = [plan.folder.manifest, plan.folder.sheet, plan.folder.film, plan.folder.gallery]
    return {file.name: file.stat().st_ino for file in report}


class Backwards:
    """Finishes jobs in the other order, as several workers may."""

    def run(self, plan: Plan) -> Generator[JobResult, None, None]:
        yield from LocalEngine().run(replace(plan, jobs=plan.jobs[::-1]))


def test_records_are_in_the_order_of_the_targets_whoever_is_first() -> None:
    plan = tiny_plan("logits:2,1,0", 1)
    with plan.stop:
        outcome = run_plan(Backwards(), plan)
    assert told(outcome) == [("2", "done"), ("1", "done"), ("0", "done")]
    assert (outcome.signal, outcome.failed_fast) == (None, False)


@pytest.mark.parametrize("keep", [True, False])
def test_pictures_are_kept_if_they_are_wanted(keep: bool) -> None:
    plan = tiny_plan("logits:0-2", 2)
    with plan.stop:
        outcome = run_plan(LocalEngine(), plan, keep_pictures=keep)
    assert list(outcome.pictures) == ([job.id for job in plan.jobs] if keep else [])


def test_the_report_is_of_all_jobs_also_of_those_that_were_done_before(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0-2", 1, tmp_path / "run")
    run(replace(plan, jobs=plan.jobs[:1], targets=plan.targets[:1]))
    assert plan.folder is not None
    assert len(read_manifest(plan.folder.manifest)) == 1
    outcome = run(again(plan))
    assert told(outcome) == [("0", "done"), ("1", "done"), ("2", "done")]
    assert read_manifest(plan.folder.manifest) == outcome.records


def test_a_second_process_leaves_the_report_of_the_first_alone(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0-1", 1, tmp_path / "run")
    first = run(plan)
    before = files(plan)
    second = run(again(plan))
    assert second.records == first.records
    assert files(plan) == before


def test_a_signal_leaves_what_was_stopped_and_what_was_not_begun(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0-2", 1, tmp_path / "run", callbacks=[Signal(3, "logits:1")])
    outcome = run(plan)
    assert outcome.signal == signal.SIGTERM
    assert told(outcome) == [("0", "done"), ("1", "partial"), ("2", "pending")]
    assert plan.folder is not None
    assert read_manifest(plan.folder.manifest) == outcome.records


def test_fail_fast_is_told_apart_from_a_failure(tmp_path: Path) -> None:
    error = ValueError("x")
    fast = tiny_plan("logits:0-2", 1, tmp_path / "fast", callbacks=[Fails(error)])
    fast.fail_fast = True
    outcome = run(fast)
    assert told(outcome) == [("0", "done"), ("1", "failed"), ("2", "pending")]
    assert outcome.failed_fast
    slow = run(tiny_plan("logits:0-1", 1, tmp_path / "slow", callbacks=[Fails(error)]))
    assert told(slow) == [("0", "done"), ("1", "failed")]
    assert not slow.failed_fast


def test_what_another_process_has_done_meanwhile_is_in_the_report(tmp_path: Path) -> None:
    """A job that failed here may have been rendered by a worker that came later."""
    plan = tiny_plan("logits:0-1", 1, tmp_path / "run", callbacks=[Fails(ValueError("x"))])
    with plan.stop, pytest.warns(UserWarning, match="failed"):
        outcome = render_plan(WorkerEngine(), plan)
    healthy = replace(plan.setup, options={**plan.setup.options, "callbacks": []})
    other = run(again(plan, setup=healthy))
    assert told(other) == [("0", "done"), ("1", "done")]
    report_plan(plan, outcome)
    assert told(outcome) == [("0", "done"), ("1", "done")]
    assert plan.folder is not None
    assert [record.status for record in read_manifest(plan.folder.manifest)] == ["done", "done"]


@pytest.mark.parametrize("rank", [0, 1])
def test_of_ranks_that_share_pictures_the_first_writes_the_report(tmp_path: Path, rank: int) -> None:
    plan = tiny_plan("logits:0", 1, tmp_path / "run")
    assert plan.folder is not None
    plan.setup = replace(plan.setup, shared=True, rank=RankInfo(rank, 2))

    class Done:
        def run(self, plan: Plan) -> Generator[JobResult, None, None]:
            yield from (JobResult(job, plan.blank_records(job.targets, "dead")) for job in plan.jobs)

    run_plan(Done(), plan)
    assert plan.folder.manifest.is_file() == (rank == 0)


def test_an_engine_is_closed_also_by_an_error_outside_of_it() -> None:
    """At once, though a debugger may hold the traceback: the network is frozen until then."""

    class Odd:
        def run(self, plan: Plan) -> Generator[JobResult, None, None]:
            try:
                yield None  # type: ignore[misc]
            finally:
                closed.append(True)

    closed: list[bool] = []
    with pytest.raises(AttributeError) as held:
        render_plan(Odd(), tiny_plan("logits:0", 1))
    assert held.tb is not None
    assert closed
