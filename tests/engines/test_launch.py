"""Further processes of this package: started, asked to stop, waited for; all of them real."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_fv.engines.launch import Children, children
from lightning_fv.engines.rank import RankInfo
from lightning_fv.engines.signals import PARENT, StopSignals
from tests.processes import alive, wait_for

NEVER_ENDS = ["--targets", "logits:0", "--trainer.max_steps", "100000000"]
NEVER_ENDS += ["--trainer.accelerator", "cpu", "--trainer.devices", "3"]


@pytest.fixture
def stop() -> Iterator[StopSignals]:
    with StopSignals() as stop:
        yield stop


@pytest.fixture
def endless(tmp_path: Path) -> list[str]:
    """A command line that renders until it is stopped."""
    return [*NEVER_ENDS, "--out", str(tmp_path / "run")]


def environment(pid: int) -> dict[str, str]:
    """Variables that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def wait_for_program(*pids: int) -> None:
    """Until processes run what they were started for, and no longer a copy of this one."""
    wait_for(lambda: all(PARENT in environment(pid) for pid in pids))


def ignores_ctrl_c(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")), 16)
    return bool(ignored >> (signal.SIGINT - 1) & 1)


def test_the_block_ends_when_all_have_ended(stop: StopSignals, capfd: pytest.CaptureFixture[str]) -> None:
    with children(RankInfo(0, 3, starts=2), 2, ["--version"], stop, None) as others:
        assert sorted(others.processes) == [1, 2]
    assert [child.returncode for child in others.processes.values()] == [0, 0]
    assert others.failed() == []
    assert capfd.readouterr().out.count("lightning_fv ") == 2


def test_none_may_be_started(stop: StopSignals) -> None:
    with children(RankInfo(), 0, ["--version"], stop, None) as others:
        assert others.processes == {}


@pytest.mark.parametrize("port", [None, 1234])
def test_children_are_told_who_they_are(stop: StopSignals, endless: list[str], port: int | None) -> None:
    rank = RankInfo(4, 6, 0, 2, "NODE_RANK", starts=1)
    with children(rank, 1, endless, stop, port) as others:
        ((number, child),) = others.processes.items()
        wait_for_program(child.pid)
        told = environment(child.pid)
        others.stop()
    assert number == 5
    assert (told["LOCAL_RANK"], told["NODE_RANK"], told[PARENT]) == ("1", "2", str(os.getpid()))
    if port is not None:
        assert (told["MASTER_ADDR"], told["MASTER_PORT"]) == ("127.0.0.1", "1234")


def test_a_child_that_failed_is_told(stop: StopSignals, capfd: pytest.CaptureFixture[str]) -> None:
    with children(RankInfo(0, 3), 1, ["gallery", "/no/such/folder"], stop, None) as others:
        pass
    assert others.failed() == ["worker 1 ended with code 2"]
    assert "lightning-fv: error: " in capfd.readouterr().err


def test_a_child_that_was_killed_is_told_while_the_others_go_on(stop: StopSignals, endless: list[str]) -> None:
    with children(RankInfo(0, 3), 2, endless, stop, None) as others:
        first, second = others.processes.values()
        assert others.failed() == []
        first.kill()
        wait_for(others.failed)
        assert others.failed() == ["worker 1 ended with signal 9 (SIGKILL)"]
        assert second.poll() is None
        others.stop()
    assert others.failed() == ["worker 1 ended with signal 9 (SIGKILL)"]


def test_a_child_that_another_ended_is_told(stop: StopSignals, endless: list[str]) -> None:
    """Nobody here has asked it to."""
    with children(RankInfo(0, 2), 1, endless, stop, None) as others:
        (child,) = others.processes.values()
        wait_for_program(child.pid)
        child.terminate()
    assert others.failed() == ["worker 1 ended with signal 15 (SIGTERM)"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_is_nobodys_failure(stop: StopSignals, endless: list[str], number: int) -> None:
    """Also to children that have just been started, and take no signals yet."""
    with children(RankInfo(0, 3), 2, endless, stop, None) as others:
        os.kill(os.getpid(), number)
        assert stop.received == number
    assert not any(alive(child.pid) for child in others.processes.values())
    assert others.failed() == []


def test_children_of_a_run_that_is_stopped_already_are_stopped(stop: StopSignals, endless: list[str]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    with children(RankInfo(0, 2), 1, endless, stop, None) as others:
        pass
    assert others.failed() == []


def test_an_error_in_the_block_stops_them(stop: StopSignals, endless: list[str]) -> None:
    started = Children()

    def block() -> None:
        with children(RankInfo(0, 2), 1, endless, stop, None) as others:
            started.processes |= others.processes
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        block()
    (child,) = started.processes.values()
    assert child.returncode is not None


def test_signals_after_the_block_are_not_passed_on(stop: StopSignals) -> None:
    with children(RankInfo(0, 2), 1, ["--version"], stop, None):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received == signal.SIGTERM


def test_ctrl_c_at_the_terminal_does_not_end_a_child_that_starts(stop: StopSignals, endless: list[str]) -> None:
    """It goes to the whole group; the first process is to ask the others, once they can stop in order."""
    with children(RankInfo(0, 2), 1, endless, stop, None) as others:
        (child,) = others.processes.values()
        wait_for(lambda: ignores_ctrl_c(child.pid))
        child.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert child.poll() is None
        others.stop()


def test_those_that_are_killed_are_named(stop: StopSignals, endless: list[str]) -> None:
    with children(RankInfo(0, 3), 2, endless, stop, None) as others:
        for child in others.processes.values():
            child.kill()
    assert len(others.failed()) == 2
