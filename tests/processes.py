"""Processes of the command line: started, watched, ended, and never left behind. All tests that start some use this."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from PIL import Image

from lightning_fv.runs.record import read_manifest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "fit.py"

SECONDS = 900.0
"""What a process may take: on a machine that has other work its start alone may take minutes."""


class Process(subprocess.Popen[str]):
    """A process whose output, of both kinds, goes to a file: it never waits for a reader.

    Args:
        command: what to run.
        cwd: where; by default in the project.
        variables: added to the environment.
    """

    def __init__(self, command: Sequence[str], cwd: Path = ROOT, **variables: str) -> None:
        self._output: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed with the process
        environment = {**os.environ, **variables}
        paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]  # the package and these tests
        super().__init__(
            command,
            cwd=cwd,
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        STARTED.append(self)

    def output(self) -> str:
        """What it has said so far."""
        self._output.seek(0)
        return self._output.read()


STARTED: list[Process] = []


def end_all() -> None:
    """Kill what still runs, with all that it started; called after each test."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            for pid in [*descendants(process.pid), process.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            process.wait()


def start(
    *words: str, under: Sequence[str] = (), enter: Sequence[str] = (), cwd: Path = ROOT, **variables: str
) -> Process:
    """A process of the command line.

    Args:
        words: its options.
        under: a launcher, as words for Python: see `torchrun`.
        enter: a command to run it by, such as one that enters a mount namespace.
        cwd: the working folder.
        variables: added to the environment.
    """
    return Process([*enter, sys.executable, *under, str(SCRIPT), *words], cwd, **variables)


def python(code: str, *words: str, enter: Sequence[str] = (), cwd: Path = ROOT, **variables: str) -> Process:
    """A process that runs code of its own."""
    return Process([*enter, sys.executable, "-c", code, *words], cwd, **variables)


def finish(process: Process, seconds: float = SECONDS) -> tuple[int, str]:
    """Exit code and output, once the process has ended."""
    try:
        return process.wait(seconds), process.output()
    except subprocess.TimeoutExpired:
        raise AssertionError(f"still running after {seconds:g} s:\n{process.output()}") from None


def run(*words: str, enter: Sequence[str] = (), cwd: Path = ROOT, **variables: str) -> tuple[int, str]:
    """Exit code and output of the command line."""
    return finish(start(*words, enter=enter, cwd=cwd, **variables))


def wait_for(condition: Callable[[], object], *processes: Process, seconds: float = SECONDS) -> None:
    """Wait until a condition holds, while all processes live."""
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.output()
        assert time.monotonic() < end, [process.output() for process in processes]
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs: it is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> list[int]:
    """Process ids of all that a process has started, and of what these have started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return []
    return [found for child in children for found in (*descendants(child), child)]


def torchrun(workers: int, *options: str) -> list[str]:
    """torchrun, as words for Python, at a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return ["-m", "torch.distributed.run", "--nproc-per-node", str(workers), "--master-port", str(port), *options]


def slurm(rank: int, ranks: int = 2) -> dict[str, str]:
    """What srun sets for one task on each of several nodes."""
    return {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "fv", "SLURM_NTASKS": str(ranks), "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0", "SLURM_NODEID": str(rank),
    }  # fmt: skip


# -- what runs leave -------------------------------------------------------------------------------------------------


def pictures(run: Path) -> dict[str, bytes]:
    """The pixels of a run's finished pictures, by file name."""
    shown = {}
    for file in sorted((run / "images").glob("*.png")):
        with Image.open(file) as picture:
            shown[file.name] = picture.tobytes()
    return shown


def digest(run: Path) -> str:
    """One hash over the names and pixels of a run's finished pictures."""
    whole = hashlib.sha256()
    for name, pixels in pictures(run).items():
        whole.update(name.encode() + pixels)
    return whole.hexdigest()


def statuses(run: Path) -> list[str]:
    """What the manifest says became of each target."""
    return [record.status for record in read_manifest(run / "manifest.jsonl")]
