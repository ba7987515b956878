"""One job in this process: stops, failures, and what is left behind."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

import lightning_fv
from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.job import job_renderer
from lightning_fv.errors import UsageError
from tests.engines.runs import Fails, Signal, plan_of, work


@pytest.mark.parametrize("batch", [14, 16])
def test_a_stop_among_accumulated_batches_waits_for_the_step(tmp_path: Path, batch: int) -> None:
    """The gradients of the step's first batches are in no checkpoint."""

    def go(folder: Path, *callbacks: pl.Callback) -> Any:
        recipe = lightning_fv.FeatureVisualizer(size=32, stage_steps=12)
        bare = plan_of("logits:0", 1, folder, (), recipe, max_steps=8, accumulate_grad_batches=3)
        plan = plan_of("logits:0", 1, None, callbacks, recipe, max_steps=8, accumulate_grad_batches=3)
        plan.jobs, plan.folder = bare.jobs, bare.folder
        (result,) = work(plan)
        return result

    whole = go(tmp_path / "whole")
    assert go(tmp_path / "stopped", Signal(batch)).signal == signal.SIGTERM
    resumed = go(tmp_path / "stopped")
    assert resumed.signal is None
    assert torch.equal(whole.pictures, resumed.pictures)


def test_a_signal_before_the_first_step_leaves_the_job_pending(tmp_path: Path) -> None:
    class Early(pl.Callback):
        def setup(self, *args: Any, **kwargs: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    plan = plan_of("logits:0", 1, tmp_path / "run", [Early()])
    (result,) = work(plan)
    assert result.signal == signal.SIGTERM
    assert {record.status for record in result.records} <= {"pending", "partial"}


def test_a_done_job_that_lost_a_picture_is_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_fv.runs.checkpoints._STEPS_PER_CHECKPOINT", 0)  # one after each step
    plan = plan_of("logits:0-1", 2, tmp_path / "run")
    (job,), run = plan.jobs, plan.folder
    assert run is not None
    work(plan)
    assert run.done(job) is not None
    assert not run.job(job).checkpoints.exists()
    first = {file.name: file.read_bytes() for file in run.images.iterdir()}
    shutil.rmtree(run.images)
    run.images.touch()  # there is no room for pictures
    with pytest.warns(UserWarning, match="pictures: cannot be written"):
        (result,) = work(plan)
    assert "pictures" in plan.errors.reasons
    assert result.pictures is not None
    assert run.done(job) is None
    assert not run.job(job).done_file.exists()
    assert {file.name for file in run.job(job).checkpoints.iterdir()} == {
        "step=2.ckpt",
        "step=3.ckpt",
    }  # none of the last step
    run.images.unlink()
    work(plan)
    assert run.done(job) is not None
    assert not run.job(job).checkpoints.exists()
    assert {file.name for file in run.images.iterdir()} == set(first)


def test_no_checkpoint_is_being_written_after_a_job_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where a callback fails once more, so that Lightning does not clean up."""

    class FailsTwice(Fails):
        def on_exception(self, *_: Any) -> None:
            raise ValueError("again")

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *args, **options: (time.sleep(0.5), save(*args, **options)))
    plan = plan_of("logits:0", 1, tmp_path / "run", [FailsTwice(ValueError("at first"), "logits:goldfish")])
    assert plan.folder is not None
    with pytest.warns(UserWarning, match="again"):
        work(plan)
    assert "checkpoints" not in [thread.name for thread in threading.enumerate()]
    assert [file.name for file in plan.folder.job(plan.jobs[0]).checkpoints.iterdir()] == ["step=1.ckpt"]


def test_a_job_that_fails_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    plan = plan_of("logits:0-3", 1, tmp_path / "run", [Fails(ValueError("two\nlines"), "logits:goldfish")])
    with pytest.warns(UserWarning, match=r"job \w+ \(logits:goldfish\) failed: ValueError: two; traceback: "):
        results = work(plan)
    assert [result.records[0].status for result in results] == ["failed", "done", "done", "done"]
    assert results[0].records[0].error == "ValueError: two"
    assert [result.has_failures for result in results] == [True, False, False, False]
    assert plan.folder is not None
    failed = plan.folder.job(plan.jobs[0])
    assert "two\nlines" in failed.error_file.read_text()
    # Tried again by the next run, and then the traces of the failure are gone.
    again = plan_of("logits:0-3", 1, None)
    again.jobs, again.folder = plan.jobs, plan.folder
    assert [result.records[0].status for result in work(again)].count("done") == 4
    assert not failed.error_file.exists()
    assert not failed.unfinished_file.exists()


def test_fail_fast_ends_the_run_at_the_first_failure(tmp_path: Path) -> None:
    plan = plan_of("logits:0-3", 1, tmp_path / "run", [Fails(ValueError("x"), "logits:jellyfish")])
    plan.fail_fast = True
    with pytest.warns(UserWarning, match="failed"):
        results = work(plan)
    assert [result.records[0].status for result in results] == ["done", "failed"]


@pytest.mark.parametrize(
    "error",
    [UsageError("not so"), OSError(28, "No space left on device"), RuntimeError("CUDA error: an illegal access")],
)
def test_what_concerns_the_run_is_raised(tmp_path: Path, error: Exception) -> None:
    """Going through all jobs would make each of them fail in the same way."""
    plan = plan_of("logits:0-1", 1, tmp_path / "run", [Fails(error, "logits:goldfish")])
    with pytest.raises(type(error)):
        work(plan)
    assert plan.folder is not None
    assert plan.folder.failure(plan.jobs[0]) is None


def test_the_network_and_lightnings_rank_are_as_before() -> None:
    plan = plan_of()
    module = plan.setup.network.module.train()
    rank_zero_only.rank = 3  # type: ignore[attr-defined]
    try:
        with isolated(), job_renderer(plan, None) as render:
            assert rank_zero_only.rank == 0  # type: ignore[attr-defined]
            assert not module.training
            render(plan.jobs[0])
        assert rank_zero_only.rank == 3  # type: ignore[attr-defined]
        assert module.training
    finally:
        rank_zero_only.rank = 0  # type: ignore[attr-defined]


def test_a_fit_that_something_else_ends_is_no_signal_and_not_done(tmp_path: Path) -> None:
    class Ends(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            trainer.should_stop = trainer.global_step == 2

    plan = plan_of("logits:0", 1, tmp_path / "run", [Ends()])
    with pytest.warns(UserWarning, match="failed: the fit ended after 2 of 4 steps: a callback or an option"):
        (result,) = work(plan)
    assert (result.signal, result.records[0].status) == (None, "failed")
