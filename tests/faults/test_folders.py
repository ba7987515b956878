"""Output folders that cannot be used, that lead elsewhere, or that two want; and clocks that jump."""

import os
import shutil
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import pytest

import lightning_fv
from lightning_fv.commands.main import main
from lightning_fv.errors import RunFolderError
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import read_manifest
from tests.faults.disks import small_disk
from tests.faults.runs import GROWING, check_files
from tests.helpers import TinyNet
from tests.processes import QUICK, SECONDS, finish, kill, pictures, run, run_python, start, wait_for

pytestmark = pytest.mark.timeout(4 * SECONDS)

SMALL = [*QUICK, "--targets", "logits:3", "--trainer.max_steps", "2", "--model.size", "16"]
UNKNOWN = ["--network", "no such network"]
"""Named in the error only if the folder was not looked at first."""


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main([*QUICK, *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    return line


# -- before the network is loaded --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["compare"]])
def test_a_file_in_the_place_of_the_folder_or_above_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nothing").symlink_to(tmp_path / "gone")
    for out, what in (("file", "file is a file"), ("file/a/b", "file is a file"), ("nothing", "is a broken link")):
        assert main([*command, *QUICK, "--out", str(tmp_path / out), *([] if command else UNKNOWN)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert what in line
        assert line.endswith("choose another folder")
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "gone").exists()


def test_python_looks_at_the_folder_first_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match="is a file"):
        lightning_fv.render("no such network", "logits:3", out=tmp_path / "file")
    with pytest.raises(RunFolderError, match="is not empty"):
        lightning_fv.render("no such network", "logits:3", out=tmp_path)


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    """For root, too, whom the permissions of a folder do not stop."""
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, 1) as disk:
        (disk.seen / "lightning_logs").mkdir()
        RunFolder(disk.seen / "begun").create("seed: 0\n")
        disk.do('mount -o remount,ro "$DISK"')
        code = "import sys; from lightning_fv.commands.main import main; sys.exit(min(main(a.split('|')) for a in sys.argv[1:]))"
        wanted = [
            ["--out", str(disk.path), *UNKNOWN],
            ["--out", str(disk.path / "deep" / "run"), *UNKNOWN],
            ["--out", str(disk.path / "begun"), "--resume"],
        ]
        done = run_python("-c", code, *map("|".join, wanted), under=disk.enter)
    assert done.returncode == 2, done.error_output
    lines = done.error_output.splitlines()
    assert len(lines) == 3
    assert all("is not writable; " in line for line in lines)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; a read-only disk is tested beside")
def test_a_folder_that_may_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "is not writable" in refused(capsys, "--out", str(tmp_path / "run"), *UNKNOWN)
    finally:
        tmp_path.chmod(0o700)


def test_the_default_folder_is_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lightning_logs").write_text("mine")
    assert "lightning_logs is a file" in refused(capsys, *UNKNOWN)


class _MovesTheRun(pl.Callback):
    def settings(self) -> None:
        pass

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        if folder.exists():
            folder.rename(folder.with_name("moved"))


def test_a_folder_that_is_moved_while_a_process_renders(tmp_path: Path, tiny_network: TinyNet) -> None:
    """Said where the next job would begin; what was made is where the folder is now."""
    own = {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "size": 16,
        "steps": 2,
        "progress": False,
        "callbacks": [_MovesTheRun()],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pictures of the first job cannot be written either
        with pytest.raises(RunFolderError, match=r"\.run is gone: it was removed or moved"):
            lightning_fv.render(tiny_network, "logits:0+logits:3", batch_size=1, out=tmp_path / "run", **own)
    assert (tmp_path / "moved" / "jobs").is_dir()
    assert not (tmp_path / "run" / "images").exists()


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["images", "partial", "manifest.jsonl", "jobs", "jobs/*", "jobs/*/checkpoints", "gallery.html"]
)
def test_links_out_of_the_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    assert main(["--out", str(folder), *SMALL]) == 0
    capsys.readouterr()
    link = next(iter(folder.glob(name)), folder / name.replace("*", next((folder / "jobs").iterdir()).name))
    if link.exists():
        shutil.move(link, elsewhere)
    else:
        elsewhere.mkdir()
    link.symlink_to(elsewhere)
    before = {path: path.stat().st_mtime_ns for path in [elsewhere, *elsewhere.rglob("*")]}
    line = refused(capsys, "--out", str(folder), "--resume")
    assert f"{link} is a link to {elsewhere}" in line
    assert {path: path.stat().st_mtime_ns for path in [elsewhere, *elsewhere.rglob("*")]} == before


def test_a_folder_that_is_itself_named_by_a_link_is_the_users_choice(tmp_path: Path) -> None:
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large_disk")
    assert main(["--out", str(tmp_path / "out"), *SMALL]) == 0
    assert main(["--out", str(tmp_path / "out"), "--resume", *QUICK]) == 0
    assert (tmp_path / "large_disk" / "manifest.jsonl").is_file()


# -- two at once -------------------------------------------------------------------------------------------------------


def test_of_two_that_want_one_folder_one_gets_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    runs = [start("--out", str(folder), *SMALL, "--seed", str(seed)) for seed in range(2)]
    codes, told = zip(*map(finish, runs), strict=True)
    assert sorted(codes) == [0, 2], told
    winner = codes.index(0)
    error, difference = told[1 - winner].splitlines()[-2:]
    assert error.startswith(f"lightning-fv: error: {folder} was started with other settings")
    assert difference == f"  seed: {winner} in the run, {1 - winner} now"
    (record,) = read_manifest(folder / "manifest.jsonl")
    assert record.seed == winner  # all of the folder is of one of them
    assert len(list((folder / "jobs").iterdir())) == 1
    check_files(folder)


# -- clocks ------------------------------------------------------------------------------------------------------------


def shift(folder: Path, seconds: float) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time.time() + seconds,) * 2)


@pytest.mark.slow
def test_a_clock_that_jumps_back_between_two_runs(tmp_path: Path) -> None:
    """To the resumed run the files are of a year hence, the older checkpoint the younger: steps decide, not times."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main(["--out", str(whole), *GROWING]) == 0
    process = start("--out", str(folder), *GROWING)
    wait_for(lambda: len(list(folder.glob("jobs/*/checkpoints/*.ckpt"))) >= 2, process)
    kill(process)
    shift(folder, 3e7)
    found = sorted(folder.glob("jobs/*/checkpoints/*.ckpt"), key=lambda file: int(file.stem[5:]))
    os.utime(found[0], (time.time() + 6e7,) * 2)
    events = {file.name for file in folder.glob("jobs/*/events*")}
    assert main(["--out", str(folder), "--resume", *QUICK]) == 0
    assert pictures(folder) == pictures(whole)
    assert events < {file.name for file in folder.glob("jobs/*/events*")}  # none was written over


def test_the_next_folder_is_told_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (0, 7):
        (tmp_path / "lightning_logs" / f"version_{number}").mkdir(parents=True)
    shift(tmp_path / "lightning_logs" / "version_0", 3e7)
    assert main(SMALL) == 0
    assert (tmp_path / "lightning_logs" / "version_8" / "manifest.jsonl").is_file()


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_a_run_in_the_past(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(["--out", str(folder), *SMALL, "--trainer.max_steps", "4"]) == 0
    (folder / "images").rename(folder / "gone")
    code, told = run("--out", str(folder), "--resume", *QUICK, under=["faketime", "-y1"])
    assert code == 0, told
    assert pictures(folder).keys() == {file.name for file in (folder / "gone").iterdir()}
