"""Signals are noted while a run goes on, and are everybody's own again afterwards."""

import os
import resource
import signal
import socket
import textwrap
import threading

import pytest

from lightning_fv.engines import signals
from lightning_fv.engines.signals import NUMBERS, PARENT, StopSignals
from tests.processes import finish, start_python


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_noted(number: int) -> None:
    before = [signal.getsignal(n) for n in NUMBERS]
    called = []
    with StopSignals() as stop:
        stop.second = "record"
        stop.on_stop = lambda: called.append(number)
        assert stop.asked() is None
        os.kill(os.getpid(), number)
        assert stop.asked() == number
        assert not stop.again
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked() == number
        assert stop.again
    assert called == [number]
    assert [signal.getsignal(n) for n in NUMBERS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_hangup_that_is_ignored_stays_so() -> None:
    """`nohup` starts a command that way, to let it outlive its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.asked() is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.asked() == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_restored_after_an_exception() -> None:
    before = [signal.getsignal(n) for n in NUMBERS]
    with pytest.raises(ValueError, match="x"), StopSignals():
        raise ValueError("x")
    assert [signal.getsignal(n) for n in NUMBERS] == before


def test_other_threads_change_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_second_ctrl_c_ends_at_once_also_where_python_does_not_run() -> None:
    source = """
        import hashlib, os, signal, threading, time
        from lightning_fv.engines.signals import StopSignals
        def press():
            for _ in range(2):
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGINT)
        stop = StopSignals()
        stop.second = "exit"
        with stop:
            threading.Thread(target=press, daemon=True).start()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one bytecode of minutes
    """
    code, told = finish(start_python("-c", textwrap.dedent(source)))
    assert code == 128 + signal.SIGINT, told


def test_a_worker_without_its_parent_is_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_PARENT_ID", str(os.getppid()))
    assert StopSignals().asked() is None
    monkeypatch.setattr(signals, "_PARENT_ID", "1" if os.getppid() != 1 else "2")
    assert StopSignals().asked() == signal.SIGTERM


def test_a_second_ctrl_c_is_a_keyboard_interrupt_unless_told_otherwise() -> None:
    """As in Python: a notebook must not lose its kernel."""
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_a_worker_starts_is_no_worker() -> None:
    code, told = finish(
        start_python("-c", "import os; import lightning_fv.engines.signals; print(os.environ)", **{PARENT: "1"})
    )
    assert code == 0, told
    assert PARENT not in told


def test_who_watched_signals_before_gets_those_that_are_not_ours() -> None:
    """Such as an event loop, which wakes up by them."""
    reader, writer = socket.socketpair()
    reader.settimeout(5)
    writer.setblocking(False)
    handler, before = signal.signal(signal.SIGUSR1, lambda *_: None), signal.set_wakeup_fd(writer.fileno())
    try:
        with StopSignals() as stop:
            stop.second = "record"
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGUSR1)
        assert stop.received == signal.SIGINT
        assert reader.recv(64) == bytes([signal.SIGUSR1])
        assert signal.set_wakeup_fd(before) == writer.fileno()
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, handler)
        reader.close()
        writer.close()


def test_a_watcher_that_has_closed_its_end_meanwhile_is_forgotten() -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    with StopSignals():
        reader.close()
        writer.close()
    assert signal.set_wakeup_fd(before) == -1


def test_handlers_are_restored_where_there_is_no_room_for_a_socket() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"), StopSignals():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_no_thread_and_no_file_is_left() -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with StopSignals():
            pass
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
