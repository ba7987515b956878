"""Claims end with their process."""

import os
import signal
from pathlib import Path

import pytest

from lightning_fv.runs.claims import claim, locks_work
from tests.processes import Process, start_command, start_python, wait_for

HOLDER = """
import sys, time
from pathlib import Path
from lightning_fv.runs.claims import claim
with claim(Path(sys.argv[1])) as held:
    print(bool(held), flush=True)
    time.sleep(600)
"""


def holder(file: Path) -> Process:
    process = start_python("-c", HOLDER, file)
    wait_for(lambda: process.output == "True\n", process)
    return process


def test_one_holds_and_says_who(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    with claim(file) as held, claim(file) as second:
        assert (held, second) == (True, False)
        assert file.read_text().startswith(f"process {os.getpid()} on ")
    assert file.read_text() == ""
    with claim(file) as again:
        assert again


def test_a_killed_holder_lets_go_and_a_stopped_one_does_not(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    process = holder(file)
    try:
        with claim(file) as held:
            assert not held
        assert f"process {process.pid} on " in file.read_text()
        process.send_signal(signal.SIGSTOP)
        with claim(file) as held:
            assert not held
    finally:
        process.kill()
        process.wait()
    with claim(file) as held:
        assert held


def test_waiting_lasts_until_the_holder_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    process = holder(file)
    start_command("sh", "-c", f"sleep 0.5; kill -9 {process.pid}")
    with claim(file, wait=True) as held:
        assert held
        assert process.wait() == -signal.SIGKILL


def test_an_exception_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), claim(tmp_path / "a.lock"):
        raise ValueError("x")
    with claim(tmp_path / "a.lock") as held:
        assert held


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def flock(*args: object) -> None:
        raise OSError(38, "Function not implemented")

    assert locks_work(tmp_path)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert not locks_work(tmp_path)
    with claim(tmp_path / "a.lock") as held:
        assert not held  # nobody can tell
    with claim(tmp_path / "a.lock", locks=False) as held:
        assert held


def test_holders_that_died_in_a_row_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    for number in (1, 2):
        process = holder(file)
        assert f"process {process.pid} on " in file.read_text()
        assert file.read_text().endswith(f"attempt {number}")
        process.kill()
        process.wait()
    with claim(file) as attempt:
        assert attempt == 3
    with claim(file) as attempt:
        assert attempt == 1  # the last one let go in order
    for damaged in ("attempt 99999", "attempt " + "9" * 5000, "attempt 3 of"):
        file.write_text(damaged)
        with claim(file) as attempt:
            assert attempt == 1


def test_a_full_disk_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with claim(tmp_path / "a.lock") as first, claim(tmp_path / "a.lock") as second:
        assert (first, second) == (1, 0)
