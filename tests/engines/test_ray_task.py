"""A job as a worker of the cluster renders it, called in this process: files in, files out, errors in one line."""

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from PIL import Image

from lightning_fv.engines.plan import Plan, make_plan
from lightning_fv.engines.ray_task import Task, TaskOutcome, run_task, versions
from lightning_fv.errors import UsageError
from lightning_fv.runs.checkpoints import latest_checkpoint, steps_of
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import CHUNK
from lightning_fv.runs.start_photo import StartPhoto
from lightning_fv.runs.transfer import pack, unpack
from tests.engines.runs import Fails, Signal, again, tiny_plan, work
from tests.helpers import noise
from tests.processes import pictures

cloudpickle = pytest.importorskip("ray.cloudpickle", reason="what the driver pickles by")


def sent(plan: Plan, checkpoints: dict[str, bytes] | None = None, **changes: Any) -> TaskOutcome:
    """What comes back of a plan's first job."""
    setup = cloudpickle.dumps(plan.setup)
    digest = hashlib.blake2b(setup).hexdigest()
    task = Task(plan.jobs[0], digest, torch.get_num_threads(), versions())
    return run_task(replace(task, **changes), setup, checkpoints or {})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder of a driver."""
    run = RunFolder(tmp_path / "driver")
    run.create()
    return run


class Warns(pl.Callback):
    def settings(self) -> None:
        """None, for the ids of jobs."""

    def on_train_batch_end(self, *args: Any) -> None:
        warnings.warn("a warning of one's own", stacklevel=1)
        warnings.warn("not for people", DeprecationWarning, stacklevel=1)


def test_what_comes_back_is_the_job_done(run: RunFolder, tmp_path: Path) -> None:
    here = tiny_plan("logits:0-1", 2, tmp_path / "here")
    work(here)
    plan = tiny_plan("logits:0-1", 2)
    outcome = sent(plan)
    assert (outcome.error, outcome.lost, outcome.traceback, outcome.warnings) == (None, None, None, [])
    assert [record.status for record in outcome.records] == ["done"] * 2
    unpack(run, plan.jobs[0], outcome.files)
    assert run.done(plan.jobs[0]) == outcome.records
    assert pictures(run.path) == pictures(tmp_path / "here")
    assert run.job(plan.jobs[0]).frame_steps() == RunFolder(tmp_path / "here").job(plan.jobs[0]).frame_steps()


def test_a_job_carries_the_photos_that_it_starts_from(run: RunFolder, tmp_path: Path) -> None:
    photos = tuple(StartPhoto(f"{number}.jpg", str(number) * 32) for number in range(4))
    plain = tiny_plan("logits:0-3", 2)
    plan = make_plan(replace(plain.setup, start=noise(4, 3, 16, 20).sigmoid(), photos=photos), "logits:0-3", 2)
    here = again(plan, folder=RunFolder(tmp_path / "here"))
    assert here.folder is not None
    here.folder.create()
    here.folder.register(here.jobs)
    work(here)
    for job in plan.jobs:
        unpack(run, job, sent(again(plan, jobs=[job])).files)
    assert pictures(run.path) == pictures(tmp_path / "here")
    for number, record in enumerate(record for job in plan.jobs for record in run.done(job) or ()):
        with Image.open(run.path / str(record.image)) as picture:
            recipe = json.loads(picture.text[CHUNK])["recipe"]  # type: ignore[attr-defined]
        assert recipe["start"] == {"photo": f"{number}.jpg", "digest": str(number) * 32}


class Once(pl.Callback):
    """Fails in its second job."""

    def __init__(self) -> None:
        self._begun = False

    def settings(self) -> None:
        """None, for the ids of jobs."""

    def on_fit_start(self, *args: Any) -> None:
        if self._begun:
            raise ValueError("begun before")
        self._begun = True


def test_each_job_of_a_worker_starts_with_the_callbacks_as_they_were_sent() -> None:
    plan = tiny_plan("logits:0", 1, callbacks=[Once()])
    for _ in range(2):
        assert [record.status for record in sent(plan).records] == ["done"]


def test_a_job_goes_on_where_another_worker_stopped(run: RunFolder, tmp_path: Path) -> None:
    whole = tiny_plan("logits:0", 1, tmp_path / "whole")
    work(whole)
    plan = tiny_plan("logits:0", 1, callbacks=[Signal(3)])
    (job,) = plan.jobs
    stopped = sent(plan)
    assert stopped.lost == "it was stopped by SIGTERM"
    assert [(record.status, record.steps) for record in stopped.records] == [("partial", 3)]
    unpack(run, job, stopped.files)
    checkpoint = latest_checkpoint(run.job(job).checkpoints)
    assert checkpoint is not None
    assert steps_of(checkpoint) == 3
    # The second batch would be step 5 of 4: with a checkpoint of three steps there is one.
    again = tiny_plan("logits:0", 1, callbacks=[Signal(2)])
    outcome = sent(again, pack(run, job, checkpoints_only=True))
    assert (outcome.lost, [record.status for record in outcome.records]) == (None, ["done"])
    unpack(run, job, outcome.files)
    assert pictures(run.path) == pictures(tmp_path / "whole")


def test_other_versions_are_named_with_the_remedy() -> None:
    """Their pictures would be others."""
    outcome = sent(tiny_plan(), versions={**versions(), "torch": "1.0"})
    assert outcome.error is not None
    assert f"has torch {versions()['torch']}, " in outcome.error
    assert "torch 1.0; install the same" in outcome.error
    assert (outcome.records, outcome.files) == ([], {})


def test_a_job_that_fails_comes_back_with_its_traceback(run: RunFolder) -> None:
    plan = tiny_plan("logits:1", 1, callbacks=[Fails(ValueError("two\nlines"))])
    outcome = sent(plan)
    assert [(record.status, record.error) for record in outcome.records] == [("failed", "ValueError: two")]
    assert (outcome.error, outcome.warnings) == (None, [])  # the driver warns of it itself
    unpack(run, plan.jobs[0], outcome.files)
    assert "two\nlines" in run.job(plan.jobs[0]).error_file.read_text()


def test_bad_usage_is_an_error_and_a_broken_node_is_a_lost_worker() -> None:
    """Another node may have a disk with room."""
    usage = sent(tiny_plan("logits:1", 1, callbacks=[Fails(UsageError("not so"))]))
    assert (usage.error, usage.traceback) == ("not so", None)
    disk = sent(tiny_plan("logits:1", 1, callbacks=[Fails(OSError(28, "No space left on device"))]))
    assert disk.error is None
    assert str(disk.lost).startswith("OSError: [Errno 28] No space left on device on node ")


def test_a_class_that_the_node_does_not_have() -> None:
    plan = tiny_plan()
    task = Task(plan.jobs[0], "a digest of its own", torch.get_num_threads(), versions())
    outcome = run_task(task, b"cno_such_module\nNetwork\n.", {})
    assert outcome.error is not None
    assert "cannot load the network or the recipe: No module named 'no_such_module'" in outcome.error
    assert outcome.error.endswith("install it on all nodes")


def test_warnings_come_back_once() -> None:
    assert sent(tiny_plan("logits:0", 1, callbacks=[Warns()])).warnings == ["a warning of one's own"]


def test_the_drivers_threads_are_used() -> None:
    """Sums, and so bits, depend on their number."""
    before = torch.get_num_threads()
    try:
        sent(tiny_plan("logits:0", 1), threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
