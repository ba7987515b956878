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
        patch.setattr("lightning_fv.runs.job_folder.JobFolder.clear_checkpoints", lambda *args: None)
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
    assert last.name == "step=19.ckpt"
    last.rename(last.with_name("step=20.ckpt"))
    assert main(["--out", str(interrupted), "--resume", *QUICK]) == 0
    assert pictures(interrupted) == pictures(finished)
    assert not list(interrupted.glob("jobs/*/checkpoints"))  # done, they need none
