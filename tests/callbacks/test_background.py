"""The thread that writes while the render goes on."""

import threading

import pytest

from lightning_fv.callbacks.background import Background
from lightning_fv.runs.files import WriteErrors


def test_a_full_disk_under_the_logs_does_not_end_the_render(recwarn: pytest.WarningsRecorder) -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError(28, "No space left on device")

    errors = WriteErrors()
    background = Background("logs", errors)
    background.submit(lambda: done.append(1), must=True)
    background.submit(fail, must=True)
    background.submit(lambda: done.append(2), must=True)
    background.close()
    assert done == [1]
    assert background.failed
    (warning,) = [w for w in recwarn if str(w.message).startswith("logs: cannot be written")]
    assert "No space left" in str(warning.message)
    assert errors.reasons == {"logs": "No space left on device"}


def test_all_that_was_handed_over_is_done_in_order_on_one_other_thread() -> None:
    done: list[tuple[int, int]] = []
    background = Background("logs", WriteErrors(), depth=2)
    for number in range(20):
        background.submit(lambda number=number: done.append((number, threading.get_ident())), must=True)
    background.close()
    assert [number for number, _ in done] == list(range(20))
    (thread,) = {thread for _, thread in done}
    assert thread != threading.get_ident()
    background.close()  # a Trainer may end a fit twice


def test_what_need_not_be_done_is_dropped_when_the_writer_is_behind() -> None:
    """The render does not wait for a slow disk."""
    done: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(60)

    background = Background("logs", WriteErrors(), depth=2)
    background.submit(slow)
    assert begun.wait(60)
    for number in range(5):
        background.submit(lambda number=number: done.append(number))
    go_on.set()
    background.submit(lambda: done.append(9), must=True)
    background.close()
    assert done == [0, 1, 9]
