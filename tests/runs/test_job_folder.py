"""What one job leaves: its marks, its frames, and what a new render takes back."""

from pathlib import Path

import pytest

from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.record import Record, Status, read_manifest


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    job = JobFolder(tmp_path / "jobs" / "abc")
    job.begin()
    return job


def record(status: Status) -> Record:
    return Record("a", "logits:0", "tiny", status, 1.0, None, [3, 4], 5, 0, 0.1)


def test_the_marks_of_a_job_follow_what_became_of_it(job: JobFolder) -> None:
    assert list(job.path.iterdir()) == []
    job.mark_unfinished([record("failed")], "Traceback ...")
    assert {file.name for file in job.path.iterdir()} == {job.unfinished_file.name, job.error_file.name}
    assert job.error_file.read_text() == "Traceback ..."
    job.begin()  # tried again: the traceback stays until it succeeds
    assert [file.name for file in job.path.iterdir()] == [job.error_file.name]
    job.mark_done([record("done")])
    assert [file.name for file in job.path.iterdir()] == [job.done_file.name]
    assert read_manifest(job.done_file) == [record("done")]
    job.begin()
    assert list(job.path.iterdir()) == []


def test_a_job_that_was_stopped_has_no_traceback(job: JobFolder) -> None:
    job.mark_unfinished([record("partial")])
    assert read_manifest(job.unfinished_file) == [record("partial")]
    assert not job.error_file.exists()


def test_a_job_can_fail_before_it_has_a_folder(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "run" / "jobs" / "abc")
    job.mark_unfinished([record("failed")], "Traceback ...")
    assert read_manifest(job.unfinished_file) == [record("failed")]


def test_a_new_render_keeps_what_it_goes_on_from(job: JobFolder) -> None:
    kept = [job.checkpoints / "step=3.ckpt", job.frame(2)]
    for file in [*kept, job.checkpoints / ".step=4.ckpt.x1.partial"]:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    job.begin()
    assert sorted(file for file in job.path.rglob("*") if file.is_file()) == sorted(kept)
    job.clear_checkpoints()
    assert not job.checkpoints.exists()
    job.clear_checkpoints()  # also where there are none


def test_frames_are_in_order_of_their_steps(job: JobFolder) -> None:
    assert job.frame_steps() == []
    job.frames.mkdir()
    for step in (123456789, 128, 8, 0):  # also one of more than eight digits
        job.frame(step).touch()
    (job.frames / "notes.jpg").touch()
    assert job.frame_steps() == [0, 8, 128, 123456789]
    assert [file.name for file in job.frame_files()] == [
        "00000000.jpg", "00000008.jpg", "00000128.jpg", "123456789.jpg",
    ]  # fmt: skip
    assert all(file.is_file() for file in job.frame_files())
