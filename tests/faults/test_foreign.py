"""Pipes, sockets, devices, folders and links in the place of a run's files: none is opened, and each is named in one line."""

import contextlib
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from lightning_fv.commands.main import main
from lightning_fv.engines.plan import Plan
from lightning_fv.engines.run import run_plan
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.errors import CheckpointError, RunFolderError
from lightning_fv.report import read_picture
from lightning_fv.runs.checkpoints import latest_checkpoint
from lightning_fv.runs.folder import RunFolder
from tests.engines.runs import again, tiny_plan, work
from tests.processes import QUICK

pytestmark = pytest.mark.timeout(120)  # what opens a pipe waits without end

KINDS: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "a folder": Path.mkdir,
    "a link to": lambda path: path.symlink_to("/dev/zero"),
}


def render(plan: Plan) -> None:
    with plan.stop:
        run_plan(WorkerEngine(), plan)


@contextlib.contextmanager
def instead_of(file: Path, put: Callable[[Path], object]) -> Iterator[None]:
    """Something else in the place of a file, which comes back afterwards."""
    away = file.with_name("away")
    if file.exists():
        file.rename(away)
    put(file)
    yield
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    if away.exists():
        away.rename(file)


def test_in_the_place_of_any_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    args = ["--targets", "logits:3", "--trainer.max_steps", "2", "--model.size", "16"]
    assert main(["--out", str(out), *QUICK, *args]) == 0
    checkpoints = next((out / "jobs").iterdir()) / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "step=1.ckpt").touch()
    files = [file for file in out.rglob("*") if file.is_file() and "tfevents" not in file.name]
    assert {file.name for file in files} > {
        "config.yaml", "manifest.jsonl", "sheet.png", "progress.webp", "gallery.html", "done.jsonl",
        "plan.json", "report.lock", "test.lock", "report", "hparams.yaml", "00000000.jpg", "step=1.ckpt",
        next((out / "images").iterdir()).name,
    }  # fmt: skip
    capsys.readouterr()
    others = itertools.cycle(list(KINDS)[1:])
    for file in files:
        for kind in ("a named pipe", next(others)):
            if (kind, file.name) == ("a folder", "report"):
                continue  # a name without a suffix; without it the report is written again
            with instead_of(file, KINDS[kind]):
                assert main(["--out", str(out), "--resume", *QUICK]) == 2
                (line,) = capsys.readouterr().err.splitlines()
                assert f"{file} is {kind}" in line
    with instead_of(out / "config.yaml", os.mkfifo):  # the same command again
        assert main(["--out", str(out), *QUICK, *args]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "config.yaml is a named pipe" in line


@pytest.mark.parametrize("kind", KINDS)
def test_while_it_runs(tmp_path: Path, kind: str) -> None:
    """What is read in the middle of a run, where nobody looks at the folder as a whole."""
    plan, put, what = (
        tiny_plan("logits:0", 1, tmp_path / "run"),
        KINDS[kind],
        f"it is {kind}".replace("link to", "device"),
    )
    (job,), run = plan.jobs, plan.folder
    assert run is not None
    render(plan)
    folder, state = run.job(job), run.path / ".run"
    for file in (folder.done_file, run.picture(job.targets[0].id)):
        with instead_of(file, put), pytest.warns(UserWarning, match="rendered again"):
            assert run.done(job) is None
    with instead_of(folder.unfinished_file, put):
        assert (run.unfinished(job), run.failure(job)) == (None, None)
    for file in (run.manifest, run.sheet, run.gallery, run.film, state / "report"):
        with instead_of(file, put):
            assert run.reported() == ""
    with (
        instead_of(run.manifest, put),
        pytest.raises(RunFolderError, match=rf"manifest.jsonl is damaged \({what}, not"),
    ):
        run.records()
    with instead_of(state / "plan.json", put), pytest.raises(RunFolderError, match=f"plan.json: {what}, not a file"):
        run.register(plan.jobs)
    lock = state / f"{job.id}.lock"
    with (
        instead_of(lock, put),
        pytest.raises(RunFolderError, match=f"cannot lock {lock}: {what}.*; remove it"),
        run.claim(job),
    ):
        pass
    folder.checkpoints.mkdir()
    with (
        instead_of(folder.checkpoints / "step=2.ckpt", put),
        pytest.warns(UserWarning, match=rf"step=2.ckpt cannot be read \({what}"),
        pytest.raises(CheckpointError, match="none of the checkpoints"),
    ):
        latest_checkpoint(folder.checkpoints)
    with instead_of(folder.frame(0), put), pytest.raises(RunFolderError, match=f"cannot be read: {what}"):
        read_picture(folder.frame(0))
    assert run.done(job) is not None
    assert run.reported()


def test_a_pipe_in_the_folder_of_a_job_stops_the_run(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0-1", 1, tmp_path / "run")
    assert plan.folder is not None
    folder = plan.folder.job(plan.jobs[1])
    folder.path.mkdir()
    os.mkfifo(folder.path / "hparams.yaml")  # Lightning would open it
    with pytest.raises(RunFolderError, match=r"hparams.yaml is a named pipe, .*; remove it"):
        work(plan)
    (folder.path / "hparams.yaml").unlink()
    assert [result.earlier for result in work(again(plan))] == [True, False]


class PutsLink(pl.Callback):
    """Moves a folder of the run away in the second step of a job, and puts a link in its place."""

    def __init__(self, folder: Path, elsewhere: Path) -> None:
        self._folder, self._elsewhere = folder, elsewhere

    def settings(self) -> None:
        """None, for the ids of jobs."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == 2 and not self._folder.is_symlink():
            self._folder.mkdir(parents=True, exist_ok=True)  # a thread may not have written the first checkpoint yet
            self._folder.rename(self._elsewhere)
            self._folder.symlink_to(self._elsewhere)


@pytest.mark.parametrize("name", ["images", "jobs/{}/checkpoints"])
def test_a_link_that_is_put_in_the_place_of_a_folder(tmp_path: Path, name: str) -> None:
    """As by someone whose disk gets full. The run stops before it writes a picture there; with the folder back it goes on."""
    run, elsewhere = RunFolder(tmp_path / "run"), tmp_path / "elsewhere"
    plan = tiny_plan("logits:0", 1, run.path)
    folder = run.path / name.format(plan.jobs[0].id)
    run.images.mkdir()
    plan = again(plan, setup=tiny_plan("logits:0", 1, callbacks=[PutsLink(folder, elsewhere)]).setup)
    with pytest.raises(RunFolderError, match=f"{folder} is a link to {elsewhere}, and a run writes only inside"):
        work(plan)
    assert not list(elsewhere.rglob("*.png"))
    with pytest.raises(RunFolderError, match=f"{folder} is a link"):  # and by the next process before it renders
        work(again(plan))
    folder.unlink()
    elsewhere.rename(folder)
    (result,) = work(again(plan, setup=tiny_plan().setup))
    assert result.records[0].status == "done"
