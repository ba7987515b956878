"""Starts further processes on this machine, one per device."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from lightning_fv.engines.rank import RankInfo
from lightning_fv.engines.signals import NUMBERS, PARENT, StopSignals
from lightning_fv.errors import note


class Children:
    """The processes that this one started.

    Attributes:
        processes: by rank.
        patience: seconds that they get to end, once this process has nothing left to do; None for as long as they need.
    """

    def __init__(self) -> None:
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.patience: float | None = None
        self._asked = False

    def stop(self) -> None:
        """Ask all of them to stop gracefully."""
        self._asked = True
        for child in self.processes.values():
            if child.poll() is None:
                child.terminate()  # not SIGINT: a terminal has sent them one already, and a second means at once

    def wait(self) -> None:
        """Wait until all have ended; those that take longer than `patience`, as one that hangs, are killed."""
        end = None if self.patience is None else time.monotonic() + self.patience
        for rank, child in self.processes.items():
            try:
                child.wait(None if end is None else max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                note(f"lightning-fv: worker {rank} (process {child.pid}) does not end; killing it")
                child.kill()
                child.wait()

    def failed(self) -> list[str]:
        """What went wrong: a clause for each process that has ended with an error."""
        good = {None, 0, *(128 + number for number in NUMBERS)}  # a signal stops all of them
        if self._asked:
            good |= {-number for number in NUMBERS}  # it had not installed its signal handlers yet
        return [
            f"worker {rank} ended with {_exit_text(code)}"
            for rank, child in self.processes.items()
            if (code := child.poll()) is not None and code not in good
        ]


@contextlib.contextmanager
def children(
    rank: RankInfo, count: int, words: Sequence[str], stop: StopSignals, port: int | None
) -> Iterator[Children]:
    """Start further processes on this node, and wait for them at the end.

    A signal to this process is passed on to them; if the block raises, they are asked to stop.

    Args:
        rank: of this process.
        count: how many to start.
        words: the command line, with the run folder.
        stop: the signals of this process.
        port: where rank 0 listens, if the processes form a process group.
    """
    started = Children()
    try:
        for local_rank in range(1, count + 1):
            started.processes[rank.rank + local_rank] = _start(rank, local_rank, words, port)
        stop.on_stop = started.stop
        if stop.asked() is not None:
            started.stop()
        yield started
    except BaseException:
        started.stop()
        raise
    finally:
        started.wait()
        stop.on_stop = lambda: None


def _start(rank: RankInfo, local_rank: int, words: Sequence[str], port: int | None) -> subprocess.Popen[bytes]:
    """Start a process with the environment variables that Lightning's own launcher uses."""
    environment = {**os.environ, "LOCAL_RANK": str(local_rank), "NODE_RANK": str(rank.node), PARENT: str(os.getpid())}
    if port is not None:
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    # The same modules, including those next to the user's script: `-m` would search the working folder first.
    # A terminal sends Ctrl-C to all: until a child handles signals itself, this process asks it to stop.
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    code += f"import sys; sys.path[:] = {sys.path!r}; from lightning_fv.commands.main import console; console()"
    return subprocess.Popen([sys.executable, "-c", code, *words], env=environment, stdin=subprocess.DEVNULL)


def _exit_text(code: int) -> str:
    return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"code {code}"
