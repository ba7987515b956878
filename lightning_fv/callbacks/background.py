"""One thread that writes while the render goes on."""

import contextlib
import queue
import threading
from collections.abc import Callable

from lightning_fv.runs.files import WriteErrors


class Background:
    """Runs jobs one after another on a thread of its own.

    A job that fails disables the thread with one warning: a full disk under the logs must not end the render.

    Args:
        name: what is written, as the warning calls it.
        errors: where to note that it cannot be.
        depth: jobs that may wait; more of them are dropped, unless they must be done.
    """

    def __init__(self, name: str, errors: WriteErrors, depth: int = 8) -> None:
        self.name, self.errors = name, errors
        self.failed = False
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], object], must: bool = False) -> None:
        """Hand over a job; waits for room if it must be done, else drops it when there is none."""
        if self.failed:
            return
        with contextlib.suppress(queue.Full):
            self._jobs.put(job, block=must)

    def close(self) -> None:
        """Wait until all that was handed over is done."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self.failed:
                continue
            try:
                job()
            except Exception as error:
                self.failed = True
                self.errors.add(self.name, error)
