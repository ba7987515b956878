"""Signals are noted while a run goes on, and are everybody's own again afterwards."""

import os
import signal
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
            stop.install()
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
