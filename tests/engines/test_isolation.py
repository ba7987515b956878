"""What renders share with their process: taken in turns, and left as it was."""

import contextlib
import threading
import time
from collections.abc import Iterator

from lightning_fv.engines.isolation import isolated


@contextlib.contextmanager
def another_thread(work: object) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    yield thread
    thread.join()


def test_turns_are_taken_and_one_inside_another_is_part_of_it() -> None:
    inside: list[str] = []
    entered = threading.Event()

    def other() -> None:
        entered.set()
        with isolated():
            inside.append("other")

    with isolated(), another_thread(other) as thread:
        entered.wait()
        with isolated():
            inside.append("nested")
        time.sleep(0.05)
        inside.append("first")
        assert thread.is_alive()
        # The thread ends only when this turn does.
        with contextlib.ExitStack():
            pass
        threading.Thread(target=lambda: None).start()
        break_out = inside == ["nested", "first"]
        assert break_out
        thread_waits = thread
        del thread
        release_turn(thread_waits)


def release_turn(thread: threading.Thread) -> None:
    raise NotImplementedError
