"""Jobs as bytes: what one run folder has, another gets."""

from pathlib import Path

from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.transfer import pack, unpack
from tests.engines.runs import plan_of, work


def test_a_done_job_arrives_as_done(tmp_path: Path) -> None:
    plan = plan_of("logits:0-3", 2, tmp_path / "there")
    work(plan)
    there, here = plan.folder, RunFolder(tmp_path / "here")
    assert there is not None
    here.create()
    job, other = plan.jobs
    here.job(job).mark_unfinished(plan.blank_records(job.targets, "failed", error="x"), "Traceback")
    here.partial.mkdir()
    here.picture(job.targets[0].id, complete=False).touch()
    here.job(job).checkpoints.mkdir()
    unpack(here, job, pack(there, job))
    assert here.done(job) == there.done(job)
    assert here.done(other) is None
    assert here.job(job).frame_steps() == there.job(job).frame_steps() != []
    assert not here.job(job).checkpoints.exists()
    assert not here.job(job).unfinished_file.exists()
    assert not here.job(job).error_file.exists()
    assert not list(here.partial.iterdir())


def test_checkpoints_alone(tmp_path: Path) -> None:
    plan = plan_of("logits:0", 1, tmp_path / "run")
    (job,), run = plan.jobs, plan.folder
    assert run is not None
    run.job(job).checkpoints.mkdir(parents=True)
    (run.job(job).checkpoints / "step=3.ckpt").write_bytes(b"abc")
    run.job(job).done_file.touch()
    assert pack(run, job, checkpoints_only=True) == {f"jobs/{job.id}/checkpoints/step=3.ckpt": b"abc"}
