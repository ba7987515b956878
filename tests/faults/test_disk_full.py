"""A disk that fills up: nothing that was made is lost, and when there is room again the run ends with the same bits."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import lightning_fv
from lightning_fv.commands.main import main
from lightning_fv.runs.checkpoints import AtomicCheckpointIO, latest_checkpoint, steps_of
from lightning_fv.runs.record import read_manifest
from tests.faults.disks import Disk, small_disk
from tests.faults.runs import GROWING, check_files, lines_with
from tests.processes import QUICK, SECONDS, finish, pictures, run, run_python, start, wait_for

pytestmark = pytest.mark.timeout(4 * SECONDS)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, 8) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the run of these tests makes where nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main(["--out", str(folder), *GROWING]) == 0
    return pictures(folder)


def test_full_in_the_middle_of_a_run(disk: Disk, undisturbed: dict[str, bytes]) -> None:
    """Checkpoints, scalars, pictures in TensorBoard, frames, pictures, manifest and pages: each is told once."""
    folder, seen = disk.path / "run", disk.seen / "run"
    scalars = ["--trainer.log_every_n_steps", "1"]  # more than fit into what is left of the file's last block
    process = start("--out", str(folder), *GROWING, *scalars, under=disk.enter)

    def waiting() -> list[Path]:
        return [job for job in seen.glob("jobs/*") if not (job / "done.jsonl").exists()]

    wait_for(
        lambda: (
            len(list(seen.glob("jobs/*/done.jsonl"))) == 1
            and [len(list(job.glob("checkpoints/*.ckpt"))) for job in waiting()] == [2]
        ),
        process,
    )
    ballast = disk.fill()
    code, told = finish(process)
    assert code == 1, told
    for what in ("checkpoints", "TensorBoard logs", "pictures in TensorBoard", "frames of the film", "pictures"):
        count = len(lines_with(told, f"warning: {what}: cannot be written (No space left on device)"))
        # On a busy machine the next checkpoint may come after the end, since the last one took long.
        assert count == 1 or (what == "checkpoints" and count == 0), told
    assert "Traceback" not in told
    assert "1 not written" in told
    (remedy,) = lines_with(told, "lightning-fv: not written:")
    assert f"--resume --out {folder}" in remedy
    check_files(seen)
    assert not list(seen.rglob("*.partial"))
    first = pictures(seen)
    assert len(first) == 2  # those of the first job
    assert [latest_checkpoint(job / "checkpoints") is not None for job in waiting()] == [True]
    ballast.unlink()
    code, told = run("--out", str(folder), "--resume", *QUICK, under=disk.enter)
    assert code == 0, told
    assert pictures(seen) == undisturbed
    assert check_files(seen)[".html"] == 1


@pytest.mark.slow
def test_pictures_without_room_are_made_again_from_the_last_checkpoint(
    disk: Disk, undisturbed: dict[str, bytes]
) -> None:
    """A disk of its own under images/ is full, that of the checkpoints is not."""
    folder, seen = disk.path / "run", disk.seen / "run"
    process = start("--out", str(folder), *GROWING, under=disk.enter)
    wait_for(lambda: len(list(seen.glob("jobs/*/done.jsonl"))) == 1, process)
    disk.do('mount -t tmpfs -o size=4k lightning_fv_test "$DISK/run/images"')
    ballast = disk.fill("run/images/ballast")
    code, told = finish(process)
    assert code == 1, told
    assert len(lines_with(told, "warning: pictures: cannot be written (No space left on device)")) == 1, told
    assert [file.name for file in (seen / "images").iterdir()] == [ballast.name]
    assert [record.image for record in read_manifest(seen / "manifest.jsonl")].count(None) == 1
    disk.do('umount "$DISK/run/images"')
    (waiting,) = [job for job in (seen / "jobs").iterdir() if not (job / "done.jsonl").exists()]
    last = latest_checkpoint(waiting / "checkpoints")
    assert last is not None
    assert 0 < steps_of(last) < 160  # there is none of the last step, which would leave nothing to do
    code, told = run("--out", str(folder), "--resume", *QUICK, under=disk.enter)
    assert code == 0, told
    assert pictures(seen) == undisturbed
    assert [record.status for record in read_manifest(seen / "manifest.jsonl")] == ["done"] * 3


@pytest.mark.slow
def test_full_at_the_end_leaves_the_old_manifest_and_pages(disk: Disk) -> None:
    folder, seen = disk.path / "run", disk.seen / "run"
    options = [*QUICK, "--targets", "logits:3", "--trainer.max_steps", "2"]
    assert run("--out", str(folder), *options, under=disk.enter)[0] == 0
    (seen / "sheet.png").unlink()
    kept = {name: (seen / name).read_bytes() for name in ("manifest.jsonl", "gallery.html", "progress.webp")}
    ballast = disk.fill()
    code, told = run("--out", str(folder), "--resume", *QUICK, under=disk.enter)
    assert code == 1, told
    for name in ("sheet.png", "progress.webp", "gallery.html"):  # the manifest may find room: its content is the same
        assert len(lines_with(told, f"warning: {name}: cannot be written (No space left on device)")) == 1, told
    assert {name: (seen / name).read_bytes() for name in kept} == kept
    assert not (seen / "sheet.png").exists()
    ballast.unlink()
    code, told = run("--out", str(folder), "--resume", *QUICK, under=disk.enter)
    assert code == 0, told
    assert (seen / "sheet.png").exists()


def test_full_from_the_start_is_told_before_any_work(disk: Disk) -> None:
    disk.fill()
    code, told = run("--out", str(disk.path / "run"), *QUICK, "--targets", "logits:3", under=disk.enter)
    assert code == 2
    (line,) = told.splitlines()
    assert line.startswith(f"lightning-fv: error: cannot write to {disk.path / 'run'}: No space left on device")


def test_what_python_rendered_is_returned(disk: Disk, tmp_path: Path) -> None:
    code = """
import sys, warnings, pathlib
import lightning.pytorch as pl, torch
import lightning_fv
from tests.faults.disks import Disk
torch.set_num_threads(1)
disk, result = map(pathlib.Path, sys.argv[1:])
class Fill(pl.Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 4:
            Disk(disk, disk, [], None).fill()
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    rendering = lightning_fv.render("demo", "logits:3+logits:4", steps=8, size=32, out=disk / "run", progress=False,
                                    accelerator="cpu", callbacks=[Fill()])
torch.save({"images": rendering.images, "told": [str(w.message) for w in told]}, result)
rendering.save(result.parent / "elsewhere")
try:
    rendering.save(disk / "again")
except lightning_fv.errors.RunFolderError as error:
    assert "No space left" in str(error), error
else:
    raise AssertionError
"""
    result = tmp_path / "result.pt"
    done = run_python("-c", code, disk.path, result, under=disk.enter)
    assert done.returncode == 0, done.error_output
    found = torch.load(result, weights_only=True)
    told = [text for text in found["told"] if "cannot be written (No space left on device)" in text]
    assert len([text for text in told if text.startswith("pictures:")]) == 1
    whole = lightning_fv.render("demo", "logits:3+logits:4", steps=8, size=32, progress=False, accelerator="cpu")
    assert torch.equal(found["images"], whole.images)
    assert len(pictures(tmp_path / "elsewhere")) == 2


def test_old_checkpoints_stay_while_new_ones_fail_and_go_when_they_succeed(disk: Disk) -> None:
    folder = disk.seen / "checkpoints"
    writer = AtomicCheckpointIO(folder=folder)

    def save(step: int) -> list[str]:
        content = {"state_dict": {"x": torch.zeros(10_000)}, "global_step": step}
        writer.save_checkpoint(content, folder / f"step={step}.ckpt")
        writer.teardown()
        return sorted(file.stem for file in folder.glob("*.ckpt"))

    save(1)
    save(2)
    ballast = disk.fill()
    with pytest.warns(
        UserWarning, match=r"checkpoints: cannot be written \(No space left on device\); the run continues"
    ):
        assert save(3) == ["step=1", "step=2"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        assert save(4) == save(5) == ["step=1", "step=2"]
    ballast.unlink()
    assert save(6) == ["step=2", "step=6"]
    assert save(7) == ["step=6", "step=7"]
    assert not list(folder.glob(".*"))


def test_a_users_old_checkpoint_stays_while_new_ones_fail(disk: Disk) -> None:
    """Lightning asks for the removal of old ones after each save, whatever became of it."""
    writer = AtomicCheckpointIO()
    old, new = disk.seen / "epoch=0.ckpt", disk.seen / "epoch=1.ckpt"
    writer.save_checkpoint({"x": torch.zeros(10_000)}, old)
    ballast = disk.fill()
    with pytest.warns(UserWarning, match="checkpoints: cannot be written"):
        writer.save_checkpoint({"x": torch.zeros(10_000)}, new)
    writer.remove_checkpoint(old)
    assert old.exists()
    ballast.unlink()
    writer.save_checkpoint({"x": torch.zeros(10_000)}, new)
    writer.remove_checkpoint(old)
    assert [file.name for file in disk.seen.iterdir()] == [new.name]
