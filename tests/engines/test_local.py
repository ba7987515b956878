"""Renders without a run folder."""

import signal
from pathlib import Path

import pytest
import torch

from lightning_fv.engines.local import LocalEngine
from tests.engines.runs import Fails, Signal, tiny_plan, work


def test_pictures_are_in_the_results_and_nothing_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = tiny_plan("logits:0-2", 2)
    results = work(plan)
    assert [result.job.id for result in results] == [job.id for job in plan.jobs]
    assert [record.status for result in results for record in result.records] == ["done"] * 3
    assert [result.pictures.shape for result in results if result.pictures is not None] == [
        (2, 3, 16, 20), (1, 3, 16, 20),
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_those_of_a_run_folder(tmp_path: Path) -> None:
    here, there = work(tiny_plan()), work(tiny_plan(folder=tmp_path / "run"))
    for one, other in zip(here, there, strict=True):
        assert one.job.id == other.job.id
        assert one.pictures is not None
        assert other.pictures is not None
        assert torch.equal(one.pictures, other.pictures)


def test_results_come_as_their_jobs_end() -> None:
    """Who takes them one by one need not wait for all."""
    plan = tiny_plan("logits:0-2", 1)
    with plan.stop:
        results = iter(LocalEngine().run(plan))
        assert next(results).records[0].status == "done"
        plan.raise_errors = True
        plan.setup.options["callbacks"].append(Fails(ValueError("x")))  # type: ignore[index]
        with pytest.raises(ValueError, match="x"):
            next(results)


def test_there_is_nothing_after_a_signal() -> None:
    results = work(tiny_plan("logits:0-2", 1, callbacks=[Signal(2, "logits:1")]))
    assert [result.signal for result in results] == [None, signal.SIGTERM]
    assert [(result.records[0].status, result.records[0].steps) for result in results] == [("done", 4), ("partial", 2)]


@pytest.mark.filterwarnings("ignore:job .* failed")
@pytest.mark.parametrize(("fail_fast", "statuses"), [(True, ["done", "failed"]), (False, ["done", "failed", "done"])])
def test_a_failure_ends_the_run_if_that_is_wanted(fail_fast: bool, statuses: list[str]) -> None:
    plan = tiny_plan("logits:0-2", 1, callbacks=[Fails(ValueError("x"))])
    plan.fail_fast = fail_fast
    assert [result.records[0].status for result in work(plan)] == statuses


def test_the_line_of_progress_counts_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    work(tiny_plan("logits:0-2", 2, enable_progress_bar=True))
    told = capsys.readouterr().err
    assert "2/2 jobs, " in told
    assert told.endswith("\n")
