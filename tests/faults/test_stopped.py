"""SIGTERM and Ctrl-C at awkward moments: in mid-growth, while pictures are being written, twice, at the start."""

import signal
import time
from pathlib import Path

import pytest

from lightning_fv.commands.main import main
from lightning_fv.runs.record import read_manifest
from tests.faults.runs import GROWING, check_files
from tests.faults.signals import SENDING, VARIABLE
from tests.processes import QUICK, SECONDS, finish, pictures, run, start

pytestmark = pytest.mark.timeout(4 * SECONDS)

# Eight pictures that take their time to be written, and a job after them.
LARGE = [
    *QUICK, "--targets", "layer1:0-8", "--batch_size", "8", "--trainer.max_steps", "1", "--model.size", "300",
    "--model.transforms", "[]", SENDING,
]  # fmt: skip


@pytest.mark.slow
def test_sigterm_in_mid_growth_and_resumed_is_bitwise_the_same(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main(["--out", str(whole), *GROWING, SENDING]) == 0
    rarely = ["--checkpoint_seconds", "1000"]
    code, told = run("--out", str(folder), *GROWING, SENDING, *rarely, **{VARIABLE: "SIGTERM@47"})
    assert code == 143, told
    check_files(folder)
    first, second, waiting = read_manifest(folder / "manifest.jsonl")
    assert [record.status for record in (first, second, waiting)] == ["partial", "partial", "pending"]
    assert [record.steps for record in (first, second, waiting)] == [47, 47, 0]
    assert [file.name for file in folder.glob("jobs/*/checkpoints/*")] == ["step=47.ckpt"]  # no other was due
    assert 24 < first.size[0] < 56
    assert len(list((folder / "partial").iterdir())) == 2
    assert main(["--out", str(folder), "--resume", *QUICK]) == 0
    assert pictures(folder) == pictures(whole)
    assert not list((folder / "partial").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_while_pictures_are_written(tmp_path: Path, name: str, code: int) -> None:
    """All of the job's pictures are; the next job is not begun."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main(["--out", str(whole), *LARGE]) == 0
    found, told = run("--out", str(folder), *LARGE, **{VARIABLE: f"{name}@images/*.png"})
    assert found == code, told
    assert "8 of 9 targets done, 1 pending" in told
    assert f"\ncontinue       lightning-fv --resume --out {folder}\n" in told
    check_files(folder)
    assert len(pictures(folder)) == 8
    assert main(["--out", str(folder), "--resume", *QUICK]) == 0
    assert pictures(folder) == pictures(whole)


@pytest.mark.slow
def test_twice_while_pictures_are_written(tmp_path: Path) -> None:
    """At once: not all of them are there, and what has a name is whole."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main(["--out", str(whole), *LARGE]) == 0
    code, told = run("--out", str(folder), *LARGE, **{VARIABLE: "SIGINT,SIGINT@images/*.png"})
    assert code == 130, told
    check_files(folder)
    assert not (folder / "manifest.jsonl").exists()
    assert main(["--out", str(folder), "--resume", *QUICK]) == 0
    assert pictures(folder) == pictures(whole)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.0, 6.0, 8.0])
@pytest.mark.parametrize(("number", "codes"), [(signal.SIGTERM, {143, -15}), (signal.SIGINT, {130, -2})])
def test_at_any_moment_of_the_start(tmp_path: Path, number: int, codes: set[int], seconds: float) -> None:
    """Never a success; before our code runs, Python ends by the signal itself, which a shell sees as 143 and 130 too."""
    folder = tmp_path / "run"
    process = start("--out", str(folder), *GROWING, "--trainer.max_steps", "100000")
    time.sleep(seconds)
    process.send_signal(number)
    code, told = finish(process)
    assert code in codes, told
    if folder.exists():
        check_files(folder)
