"""The jobs that a run consists of: recorded once, and compared by every process that continues it."""

import json
from pathlib import Path

import pytest

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import FORMAT
from lightning_fv.runs.plan_file import recorded_settings
from tests.runs.test_folder import jobs_of, run

__all__ = ["run"]  # a fixture


def test_another_process_sees_only_the_run_that_it_would_render(run: RunFolder) -> None:
    (run.path / ".run" / "plan.json").unlink()
    run.register(jobs_of(), {"digest": "ab", "recipe": {"size": 1}})
    other = jobs_of(settings="other weights")
    with pytest.raises(RunFolderError, match="pictures: the code, a file or a setting of an objective differs"):
        run.register(other, {"digest": "ab", "recipe": {"size": 1}})
    with pytest.raises(RunFolderError, match=r'digest is "cd", in the run "ab"; recipe.size is 1\.0, in the run 1;'):
        run.register(other, {"digest": "cd", "recipe": {"size": 1.0}})


@pytest.mark.parametrize("content", ["[]", json.dumps({"format": FORMAT - 1, "jobs": ""})])
def test_a_run_of_another_version_is_told_apart_in_one_line(run: RunFolder, content: str) -> None:
    run.job(jobs_of()[0]).begin()
    file = run.path / ".run" / "plan.json"
    file.write_text(content)
    with pytest.raises(RunFolderError, match="was started by another version of lightning_fv") as told:
        run.register(jobs_of())
    assert "\n" not in str(told.value)
    file.unlink()
    with pytest.raises(RunFolderError, match=r"has lost .*plan\.json"):
        run.register(jobs_of())


def test_a_run_that_was_killed_before_its_first_job_is_taken_up(run: RunFolder) -> None:
    (run.path / ".run" / "plan.json").unlink()
    run.jobs.rmdir()
    run.register(jobs_of(settings="x"))


def test_the_settings_that_were_recorded_are_read_back(tmp_path: Path, run: RunFolder) -> None:
    (run.path / ".run" / "plan.json").unlink()
    run.register(jobs_of(), {"seed": 3})
    assert run.started_with()["seed"] == 3
    for content in ("", "[]", "3", "{}", '{"settings": 3}', "[" * 100_000):
        (tmp_path / "plan.json").write_text(content)
        assert recorded_settings(tmp_path / "plan.json") == {}
    assert recorded_settings(tmp_path / "missing") == {}
