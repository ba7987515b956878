"""A thread that writes while the render goes on."""

import contextlib
import queue
import threading
from collections.abc import Callable

from lightning_fv.runs.files import WriteErrors


class Background:
    """Runs tasks one after another on a separate thread.

    A task that fails disables the thread with one warning: a full disk for logs must not end the render.

    Args:
        name: what is written, as the warning calls it.
        errors: records that it cannot be written.
        depth: maximum number of waiting tasks; further ones are dropped, unless they are required.
    """

    def __init__(self, name: str, errors: WriteErrors, depth: int = 8) -> None:
        self.name, self.errors = name, errors
        self.failed = False
        self._tasks: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], object], must: bool = False) -> None:
        """Hand over a task. If the queue is full, wait if the task is required (``must``), else drop it."""
        if self.failed:
            return
        with contextlib.suppress(queue.Full):
            self._tasks.put(task, block=must)

    def close(self) -> None:
        """Wait until all that was handed over is done."""
        if self._thread.is_alive():
            self._tasks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.failed:
                continue
            try:
                task()
            except Exception as error:
                self.failed = True
                self.errors.add(self.name, error)
