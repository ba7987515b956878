"""Who shows the line of progress, and what it counts."""

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_fv.engines.progress import shown_progress
from lightning_fv.engines.rank import RankInfo
from tests.engines.runs import tiny_plan, work


@pytest.mark.parametrize(
    ("option", "rank", "shown"), [(True, 0, True), (None, 0, True), (False, 0, False), (True, 1, False)]
)
def test_the_first_process_shows_it_unless_it_is_switched_off(option: bool | None, rank: int, shown: bool) -> None:
    plan = tiny_plan(enable_progress_bar=option)
    plan.setup = replace(plan.setup, rank=RankInfo(rank, 2, rank))
    with shown_progress(plan) as progress:
        assert (progress is not None) == shown


def test_jobs_that_are_done_in_the_folder_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tiny_plan("logits:0-3", 1, tmp_path / "run")
    assert plan.folder is not None
    first, *others = plan.jobs
    plan.jobs = [first]
    work(plan)
    plan.jobs = [first, *others]
    plan.setup = replace(plan.setup, options={**plan.setup.options, "enable_progress_bar": True})
    with shown_progress(plan) as progress:
        assert progress is not None
        assert (progress.jobs, progress.pictures) == (4, 4)
        progress.refresh()
        assert "1/4 jobs, " in capsys.readouterr().err


def test_the_line_ends_when_the_run_does_also_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    plan = tiny_plan("logits:0-3", 1, enable_progress_bar=True)

    kept = []  # else the line would end with the object

    def run() -> None:
        with shown_progress(plan) as progress:
            assert progress is not None
            kept.append(progress)
            progress.job_done()
            assert not capsys.readouterr().err.endswith("\n")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        run()
    assert capsys.readouterr().err.endswith("\n")
