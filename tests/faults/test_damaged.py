"""Files of a run that were damaged between two of its runs: no other picture passes for the one that was asked for.

Of checkpoints the one before is used, and no job begins anew in silence; what is marked as done and is not is made again;
settings that were changed are refused.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_fv.commands.main import main
from lightning_fv.engines.run import run_plan
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.runs.checkpoints import latest_checkpoint
from lightning_fv.runs.digests import seal
from lightning_fv.runs.folder import RunFolder
from tests.engines.runs import Signal, again, tiny_plan, work
from tests.processes import QUICK, pictures

ARGS = [
    *QUICK, "--targets", "layer3:3+layer3:5", "--batch_size", "1", "--model.size", "24", "--trainer.max_steps", "20",
    "--model.stage_steps", "5", "--checkpoint_seconds", "0.000001",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the checkpoints that a run clears away when their job is done: `interrupted` needs them."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_fv.runs.job_folder.JobFolder.clear_checkpoints", lambda *args: None)
        patch.setattr("lightning_fv.runs.checkpoints._STEPS_PER_CHECKPOINT", 0)  # one after each step
        assert main(["--out", str(folder), *ARGS]) == 0
    return folder


@pytest.fixture
def interrupted(tmp_path: Path, finished: Path) -> Path:
    """The run as it was before the last step of its second job, of which two checkpoints are there."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    job = waiting(folder)
    (job / "done.jsonl").unlink()
    (folder / "images" / "layer3-0005.png").unlink()
    assert len(list((job / "checkpoints").iterdir())) == 2
    return folder


def waiting(folder: Path) -> Path:
    (job,) = [done.parent for done in folder.glob("jobs/*/done.jsonl") if "layer3-0005" in done.read_text()]
    return job


def unfinished(folder: Path) -> Path:
    (job,) = [job for job in (folder / "jobs").iterdir() if not (job / "done.jsonl").exists()]
    return job


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "a flipped bit":
        content[len(content) // 2] ^= 0x40
    file.write_bytes({"empty": b"", "cut": content[: len(content) // 2]}.get(how, bytes(content)))


def by_steps(folder: Path) -> list[Path]:
    return sorted((unfinished(folder) / "checkpoints").iterdir(), key=lambda file: int(file.stem[5:]))


@pytest.mark.parametrize("how", ["empty", "cut", "a flipped bit"])
def test_the_one_before_the_last(
    interrupted: Path, finished: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, last = by_steps(interrupted)
    damage(last, how)
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "cannot be read" in line]
    assert last.name in line
    assert line.endswith("; falling back to the one before it")
    assert pictures(interrupted) == pictures(finished)


def test_none_is_left(interrupted: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That job fails in one line, the other is rendered; the remedy works."""
    for file in by_steps(interrupted):
        damage(file, "cut")
    checkpoints = unfinished(interrupted) / "checkpoints"
    (done,) = interrupted.glob("jobs/*/done.jsonl")
    done.unlink()
    shutil.rmtree(done.parent / "checkpoints")
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 1
    told = capsys.readouterr()
    assert "1 of 2 targets done, 1 failed" in told.out
    assert f"failed: none of the checkpoints in {checkpoints} can be read; delete the folder" in told.err
    assert "Traceback" not in told.err
    shutil.rmtree(checkpoints)
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
    assert pictures(interrupted) == pictures(finished)


def test_a_checkpoint_of_the_last_step_is_passed_over(interrupted: Path, finished: Path) -> None:
    """None is saved; if there is one all the same, its fit would have nothing to do and would write no picture."""
    _, last = by_steps(interrupted)
    last.rename(last.with_name("step=20.ckpt"))
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
    assert pictures(interrupted) == pictures(finished)
    assert not list(interrupted.glob("jobs/*/checkpoints"))  # done, they need none


# -- checkpoints that something else has written -----------------------------------------------------------------------


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], None]:
    def damage(file: Path, other: Path) -> None:
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, file)

    return damage


def fill(content: dict[str, Any]) -> None:
    for tensor in content["state_dict"].values():
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)


def reshape(content: dict[str, Any]) -> None:
    content["state_dict"] = {name: torch.zeros(3) for name in content["state_dict"]}


REWRITTEN = {
    "as it was": edit(lambda content: None),
    "no optimizer state": edit(lambda content: content.pop("optimizer_states")),
    "an empty optimizer state": edit(lambda content: content.update(optimizer_states=[])),
    "no loops": edit(lambda content: content.pop("loops")),
    "no callbacks": edit(lambda content: content.pop("callbacks")),
    "a step that never comes": edit(lambda content: content.update(global_step=10**9)),
    "no step": edit(lambda content: content.pop("global_step")),
    "no version": edit(lambda content: content.pop("pytorch-lightning_version")),
    "only the state": edit(lambda content: [content.pop(key) for key in list(content) if key != "state_dict"]),
    "NaN": edit(fill),
    "other shapes": edit(reshape),
    "another job's": lambda file, other: file.write_bytes(other.read_bytes()),
    "an earlier step's": lambda file, other: file.write_bytes(file.with_name("step=2.ckpt").read_bytes()),
}


@pytest.fixture(scope="module")
def two_stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two jobs, each with the checkpoints of its steps 2 and 3."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    for target in ("logits:0", "logits:1"):
        for steps in (2, 1):
            plan = tiny_plan("logits:0-1", 1, folder, callbacks=[Signal(steps, target)])
            plan.jobs = [job for job in plan.jobs if job.text == target]
            (result,) = work(plan)
            assert result.records[0].status == "partial"
    return folder


def test_checkpoints_that_something_else_wrote(two_stopped: Path, tmp_path: Path) -> None:
    """By torch.save, say: whole as an archive, and not what this job's render has saved."""
    plan = tiny_plan("logits:0-1", 1)
    run = RunFolder(tmp_path / "run")
    first, second = (run.job(job).checkpoints / "step=3.ckpt" for job in plan.jobs)
    for rewrite in REWRITTEN.values():
        shutil.copytree(two_stopped, run.path)
        rewrite(first, second)
        with pytest.warns(UserWarning, match=r"step=3.ckpt cannot be read .*; falling back to the one before it"):
            assert latest_checkpoint(first.parent) == first.with_name("step=2.ckpt")
        assert latest_checkpoint(second.parent) == second
        shutil.rmtree(run.path)


@pytest.mark.parametrize("kind", ["NaN", "another job's"])
def test_a_render_that_finds_one_ends_with_the_same_bits(two_stopped: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(two_stopped, tmp_path / "run")
    plan = tiny_plan("logits:0-1", 1, tmp_path / "run")
    assert plan.folder is not None
    first, second = (plan.folder.job(job).checkpoints / "step=3.ckpt" for job in plan.jobs)
    REWRITTEN[kind](first, second)
    with pytest.warns(UserWarning, match=r"step=3.ckpt cannot be read .*; falling back to the one before it"):
        resumed = work(plan)
    for one, other in zip(resumed, work(tiny_plan("logits:0-1", 1)), strict=True):
        assert one.records[0].status == "done"
        assert one.pictures is not None
        assert other.pictures is not None
        assert torch.equal(one.pictures, other.pictures)


# -- what is marked as done --------------------------------------------------------------------------------------------


def damage_done(run: RunFolder, how: str) -> None:
    (file,) = run.jobs.glob("*/done.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    picture = run.path / records[0]["image"]
    content = bytearray(picture.read_bytes())
    if how == "a changed byte":
        content[len(content) // 2] ^= 1
        picture.write_bytes(content)
    elif how == "another picture":
        picture.write_bytes((run.path / records[1]["image"]).read_bytes())
    elif how == "no pictures":
        shutil.rmtree(run.images)
    else:
        records[0] |= CHANGES[how]
        file.write_text("".join(json.dumps(record) + "\n" for record in records))


CHANGES: dict[str, dict[str, object]] = {
    "a score": {"score": 1.0},
    "a status": {"status": "dead"},
    "an unknown status": {"status": "finished"},
    "a stopped one": {"status": "partial"},
    "no digest": {"digest": None},
    "no picture": {"image": None},
    "a picture elsewhere": {"image": "../x.png"},
    "a device": {"image": "/dev/zero"},
    "a list": {"scores": [1]},
    "a large number": {"score": 10**400},
    "a number as target": {"target": 3},
}


def test_jobs_that_are_marked_as_done_and_are_not(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0-1", 2, tmp_path / "whole")
    work(plan)
    assert plan.folder is not None
    for how in ["a changed byte", "another picture", "no pictures", *CHANGES]:
        run = RunFolder(tmp_path / how)
        shutil.copytree(plan.folder.path, run.path)
        assert run.done(plan.jobs[0]) == plan.folder.done(plan.jobs[0]) != None  # noqa: E711
        damage_done(run, how)
        with pytest.warns(UserWarning, match=r"done.jsonl: .*; the job is rendered again"):
            assert run.done(plan.jobs[0]) is None


@pytest.mark.parametrize("how", ["a changed byte", "no pictures"])
def test_what_is_rendered_again_has_the_same_bits(tmp_path: Path, how: str) -> None:
    plan = tiny_plan("logits:0-1", 2, tmp_path / "run")
    run, (job,) = plan.folder, plan.jobs
    assert run is not None
    work(plan)
    before, records = pictures(run.path), run.done(job)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [result.earlier for result in work(again(plan))] == [True]
    damage_done(run, how)
    with pytest.warns(UserWarning, match=r"done.jsonl: .*; the job is rendered again"):
        (result,) = work(again(plan))
    assert not result.earlier
    assert pictures(run.path) == before
    assert [record.score for record in run.done(job) or []] == [record.score for record in records or []]


def test_parts_of_a_report_that_were_damaged_are_made_again(tmp_path: Path) -> None:
    plan = tiny_plan("logits:0-1", 2, tmp_path / "run")
    run = plan.folder
    assert run is not None

    def report() -> None:
        other = again(plan)
        with other.stop:
            run_plan(WorkerEngine(), other)

    report()
    files = {file: file.read_bytes() for file in (run.manifest, run.sheet, run.gallery, run.film)}
    for file, whole in files.items():
        file.write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
        report()
        assert file.read_bytes() == whole
    for file in files:
        file.unlink()
    report()
    assert {file: file.read_bytes() for file in files} == files


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_that_were_cut_or_changed(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a cut leaves is often YAML, of a run with other targets. As a recipe the file may be edited."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    config = folder / "config.yaml"
    whole = config.read_text()
    cut = whole[: whole.index("\n") + 1]

    def refused(args: Sequence[str]) -> None:
        assert main([*args, *QUICK]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{config} was truncated or modified since the run was started" in line
        assert line.endswith("or start a new run with --config COPY_OF_IT --out ANOTHER_FOLDER")

    for content in (cut, whole.replace("max_steps: 20", "max_steps: 21"), whole[:-1], ""):
        config.write_text(content)
        refused(["--out", str(folder), "--resume"])
    refused(["--out", str(folder), *ARGS])  # the same command again
    assert pictures(folder) == pictures(finished)
    config.write_text(whole)
    copy = tmp_path / "copy.yaml"
    copy.write_text(whole.replace("max_steps: 20", "max_steps: 2").replace("batch_size: 1", "batch_size: 2"))
    assert main(["--out", str(tmp_path / "other"), "--config", str(copy), *QUICK]) == 0
    assert len(pictures(tmp_path / "other")) == 2
    content = (tmp_path / "other" / "config.yaml").read_text()
    assert content.count("# end of settings") == 1
    assert seal(content[: content.index("# end")]) == content
