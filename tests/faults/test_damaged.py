"""Checkpoints that were damaged between two runs: the one before is used, and no job begins anew in silence."""

import shutil
from pathlib import Path

import pytest

from lightning_fv.commands.main import main
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
        patch.setattr("lightning_fv.runs.job.Job.clear_checkpoints", lambda *args: None)
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
def test_the_one_before_the_last(interrupted: Path, finished: Path, how: str) -> None:
    _, last = by_steps(interrupted)
    damage(last, how)
    with pytest.warns(UserWarning, match=rf"{last.name} cannot be read .*; falling back to the one before it"):
        assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
    assert pictures(interrupted) == pictures(finished)


def test_none_is_left(interrupted: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before any job begins, also those that could; the remedy works."""
    for file in by_steps(interrupted):
        damage(file, "cut")
    checkpoints = unfinished(interrupted) / "checkpoints"
    (done,) = interrupted.glob("jobs/*/done.jsonl")
    done.unlink()  # the first job could be rendered, but is not
    capsys.readouterr()
    times = {file: file.stat().st_mtime_ns for file in interrupted.rglob("*") if ".ranks" not in file.parts}
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"none of the checkpoints in {checkpoints} can be read; delete the folder to start that job again" in line
    assert {file: file.stat().st_mtime_ns for file in times} == times
    shutil.rmtree(checkpoints)
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
    assert pictures(interrupted) == pictures(finished)


def test_a_checkpoint_of_the_last_step_needs_no_more_steps(interrupted: Path, finished: Path) -> None:
    """A kill between the last step and the pictures: Lightning's loop does not begin, the pictures are written all the same."""
    steps = [int(file.stem[5:]) for file in by_steps(interrupted)]
    assert steps[-1] == 20
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
    assert pictures(interrupted) == pictures(finished)
    assert not list(interrupted.glob("jobs/*/checkpoints"))  # done, they need none
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
