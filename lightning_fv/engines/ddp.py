"""ddp: all ranks render the same pictures, each with its own transforms, and average the gradient."""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator

import torch.distributed

from lightning_fv.engines.base import JobResult
from lightning_fv.engines.job import job_renderer
from lightning_fv.engines.launch import Children
from lightning_fv.engines.plan import Plan
from lightning_fv.engines.progress import shown_progress
from lightning_fv.engines.signals import is_orphaned
from lightning_fv.errors import RunFolderError, printable, warn


class DDPEngine:
    """Renders the one job of a plan together with the other ranks, which run the same command.

    Args:
        others: the ranks that this process started. If one dies, this process ends too: it may be waiting for it in a
            collective that some backends never leave.
    """

    def __init__(self, others: Children) -> None:
        self.others = others

    def run(self, plan: Plan) -> Generator[JobResult, None, None]:
        """See `lightning_fv.engines.base.Engine.run`.

        Raises:
            RunFolderError: another process renders the job.
        """
        folder, (job,) = plan.folder, plan.jobs
        assert folder is not None
        if (records := folder.done(job)) is not None:
            yield JobResult(job, records, earlier=True)
            return
        with folder.claim(job, plan.setup.rank.rank) as held:
            if not held:
                raise RunFolderError(f"{folder} is in use: another process is rendering there; wait for it, or stop it")
            with (
                shown_progress(plan) as progress,
                job_renderer(plan, progress) as render,
                _exit_if_lost(self._lost, str(folder)),
            ):
                try:
                    result = render(job)
                except RuntimeError as error:
                    if not re.search(r"gloo|nccl|connection|peer", str(error), re.IGNORECASE):
                        raise
                    reason = str(error).strip().splitlines()[0][:120]
                    warn(f"ddp needs all ranks, and one is gone ({reason})")
                    result = JobResult(job, plan.known_records(job), error=error)
                finally:
                    if torch.distributed.is_initialized():
                        torch.distributed.destroy_process_group()
        yield result

    def _lost(self) -> str:
        """Why the other ranks will no longer respond; empty if they will."""
        if is_orphaned():
            return "the rank that started this one is gone"
        return next(iter(self.others.failed()), "")


@contextlib.contextmanager
def _exit_if_lost(lost: Callable[[], str], folder: str) -> Iterator[None]:
    """End this process as soon as another rank is lost, even while it hangs in a collective."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(1.0):
            if reason := lost():
                # No handler can run while the main thread waits inside a collective, and it may hold the lock of a stream.
                line = printable(
                    f"lightning-fv: {reason}, and ddp needs all ranks; continue with --resume --out {folder}"
                )
                with contextlib.suppress(OSError):  # the terminal is gone
                    os.write(2, f"\n{line}\n".encode())
                os._exit(1)

    thread = threading.Thread(target=watch, name="other ranks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
