"""kill -9 at any moment: every file that has a name is whole, and the resumed run makes the same bits."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from lightning_fv.commands.main import main
from lightning_fv.runs.checkpoints import latest_checkpoint
from lightning_fv.runs.record import read_manifest
from tests.faults.runs import GROWING, check_files, lines_with
from tests.faults.signals import SENDING, VARIABLE
from tests.helpers import save_picture, smooth_photos
from tests.processes import QUICK, SECONDS, ends_within, finish, pictures, run, start, start_python, wait_for

pytestmark = pytest.mark.timeout(4 * SECONDS)

KILLS = 20


def phase(folder: Path) -> str:
    """How far a run had come, told by its files."""
    if not (folder / "config.yaml").is_file():
        return "before the folder"
    if (folder / "gallery.html").is_file():
        return "after the last page"
    done = len(list(folder.glob("jobs/*/done.jsonl")))
    if done == 2:
        return "writing manifest, sheet, film and gallery"
    return f"in job {done + 1}"


@pytest.mark.slow
@pytest.mark.timeout(5400)  # more than twenty starts of a process
def test_killed_at_random_moments_of_a_whole_life(tmp_path: Path) -> None:
    chance = random.Random(27)
    begin = time.monotonic()
    code, told = run("--out", str(tmp_path / "whole"), *GROWING)
    assert code == 0, told
    life = time.monotonic() - begin
    expected = pictures(tmp_path / "whole")
    assert len(expected) == 3

    phases: Counter[str] = Counter()
    rounds = resumed = 0
    while phases.total() < KILLS:
        rounds += 1
        folder = tmp_path / f"run_{rounds}"
        while True:
            goes_on = (folder / "config.yaml").is_file()
            resumed += goes_on
            process = start("--out", str(folder), *(["--resume", *QUICK] if goes_on else GROWING))
            # Once there were enough kills, the last round runs to its end.
            if phases.total() < KILLS and not ends_within(process, chance.uniform(0, life)):
                process.kill()
            code, told = finish(process)
            check_files(folder) if folder.is_dir() else None
            if code != -signal.SIGKILL:
                assert code == 0, told
                break
            phases[phase(folder)] += 1
        assert pictures(folder) == expected
        assert [record.status for record in read_manifest(folder / "manifest.jsonl")] == ["done"] * 3
        assert len(list(folder.glob("jobs/*"))) == 2
        assert not list((folder / "jobs").rglob("*.partial"))  # what kills left of checkpoints and frames is cleared
    print(f"\n{phases.total()} kills in {rounds} runs of {life:.0f} s, {resumed} times resumed: {dict(phases)}")


STATIONS = [
    "jobs/*/checkpoints/.*.partial", "jobs/*/frames/0000003*.jpg", "images/*.png", "jobs/*/done.jsonl",
    "jobs/*/frames/0000001*.jpg", "manifest.jsonl", "sheet.png", "progress.webp", "gallery.html",
]  # fmt: skip
"""Files in the order in which a run first writes them; the fifth in its second job."""


@pytest.mark.slow
def test_killed_at_each_station_of_a_life(tmp_path: Path) -> None:
    """One run, killed whenever it has written one file more: so the short moments at the end of a life have theirs."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main(["--out", str(whole), *GROWING, SENDING]) == 0
    killed = []
    for number, station in enumerate(STATIONS):
        if len(done := list(folder.glob("jobs/*/done.jsonl"))) == 2:  # a job must be left, for its callback to watch
            done[0].unlink()
        args = ["--resume", *QUICK] if number else [*GROWING, SENDING]
        code, told = run("--out", str(folder), *args, **{VARIABLE: f"SIGKILL@{station}"})
        assert code in (0, -signal.SIGKILL), (station, told)
        killed += [station] if code != 0 else []  # a kill that came late may have let the next station pass
        check_files(folder)
    assert len(killed) >= 6, killed
    assert main(["--out", str(folder), "--resume", *QUICK]) == 0
    assert pictures(folder) == pictures(whole)
    assert check_files(folder)[".jsonl"] == 3


HANGING = """
import os, pathlib, sys, threading, time
from lightning_fv.commands.main import main
mark = pathlib.Path(sys.argv[1])
sync, written = os.fsync, []
def hang(descriptor):
    if threading.current_thread().name == "checkpoints":
        written.append(descriptor)
        if len(written) == 3:
            mark.touch()
            time.sleep(1000)
    sync(descriptor)
os.fsync = hang
main(sys.argv[2:])
"""
"""A run whose third checkpoint is never written to its end."""


def test_killed_while_a_checkpoint_is_written_and_steps_go_on(tmp_path: Path) -> None:
    whole, folder, mark = tmp_path / "whole", tmp_path / "run", tmp_path / "mark"
    assert main(["--out", str(whole), *GROWING]) == 0
    often = [*GROWING, "--checkpoint_seconds", "0.02"]
    process = start_python("-c", HANGING, mark, "--out", folder, *often)
    wait_for(mark.exists, process)
    (job,) = folder.glob("jobs/*/checkpoints")
    before = {file.name: file.read_bytes() for file in job.glob("*.ckpt")}
    assert len(before) == 2
    assert len(list(job.glob(".*.partial"))) == 1
    process.kill()
    finish(process)
    assert {file.name: file.read_bytes() for file in job.glob("*.ckpt")} == before
    assert latest_checkpoint(job) is not None
    assert main(["--out", str(folder), "--resume", *QUICK]) == 0
    assert pictures(folder) == pictures(whole)


def test_a_folder_that_a_kill_left_before_the_settings_were_whole_can_be_taken(tmp_path: Path) -> None:
    """The settings take the folder: without them there is no run yet, and only hidden rests."""
    (tmp_path / ".config.yaml.x1y2z3.partial").write_text("seed: ")
    assert main(["--out", str(tmp_path), *QUICK, "--targets", "logits:3", "--trainer.max_steps", "1"]) == 0
    assert check_files(tmp_path)[".png"] == 2  # the picture and the sheet


def test_rests_of_a_killed_job_are_cleared_when_it_is_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["--out", str(run), *QUICK, "--targets", "logits:3", "--trainer.max_steps", "2"]) == 0
    (job,) = (run / "jobs").iterdir()
    (job / "done.jsonl").unlink()
    (job / "checkpoints").mkdir(exist_ok=True)
    rest = job / "checkpoints" / ".step=1.ckpt.abc.partial"
    rest.write_bytes(b"half")
    assert main(["--out", str(run), "--resume", *QUICK]) == 0
    assert not rest.exists()


def test_a_run_that_started_from_photos_is_killed_and_resumed_without_them(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    photos = [tmp_path / f"{number}.png" for number in range(3)]
    for photo, picture in zip(photos, [*smooth_photos(80, 90), smooth_photos(70, 70)[0]], strict=True):
        save_picture(photo, picture)
    args = [*GROWING, "--start", *map(str, photos)]
    assert main(["--out", str(whole), *args]) == 0
    process = start("--out", str(killed), *args)
    wait_for(lambda: list(killed.glob("jobs/*/checkpoints/step=*.ckpt")), process)  # the second job has not begun
    process.kill()
    finish(process)
    assert not list(killed.glob("jobs/*/done.jsonl"))
    for photo in photos:
        photo.unlink()
    code, told = run("--out", str(killed), "--resume", *QUICK)
    assert code == 0, told
    assert pictures(killed) == pictures(whole)
    (copy, *_) = killed.glob(".run/start-*.png")
    copy.write_bytes(b"\x89PNG")
    code, told = run("--out", str(killed), "--resume", *QUICK)
    assert code == 2
    (line,) = lines_with(told, "error")
    assert f"{killed} has lost the photo {tmp_path}" in line
