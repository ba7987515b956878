"""Processes that tests start, and what their runs leave: one way to start, watch, signal and end them.

Each process runs in a session and process group of its own. ``tests/conftest.py`` kills whatever a test started, with all
descendants, when the test ends. Output goes to a file without a name, so that it can be read at any time and a full pipe
never blocks a process that nobody reads.
"""

import contextlib
import ctypes
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_fv.runs.record import read_manifest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
"""Options of most runs: on the CPU, without a progress bar."""

SECONDS = 600.0
"""The longest that a process, or a condition, may take: on a busy machine a start alone takes minutes."""

_MARK = "LIGHTNING_FV_TEST_PROCESS"
"""Variable by which the descendants of a process are found, whatever their session and whether or not their parent lives."""

_started: list["Process"] = []


class Process(subprocess.Popen[str]):
    """A process whose output is kept. Made by `start`, `start_python` and `start_command`."""

    def __init__(self, command: Sequence[str], separate: bool, **options: Any) -> None:
        self.mark = uuid.uuid4().hex
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as its output is wanted
        self._stderr = tempfile.TemporaryFile() if separate else self._stdout  # noqa: SIM115
        options["env"] = {**options["env"], _MARK: self.mark}
        options |= {"stdout": self._stdout, "stderr": self._stderr, "text": True}
        super().__init__(command, start_new_session=True, preexec_fn=_die_with_parent, **options)

    @property
    def output(self) -> str:
        """What has been written so far: to both streams in order, or to standard output if they are kept apart."""
        return _content(self._stdout)

    @property
    def error_output(self) -> str:
        """What has been written to standard error so far, if the streams are kept apart; else the same as `output`."""
        return _content(self._stderr)

    def family(self) -> list[int]:
        """Process ids of this process and all its descendants, as far as /proc tells."""
        mark = f"{_MARK}={self.mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to read
                if mark in (folder / "environ").read_bytes():  # empty for a zombie
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        for file in {self._stdout, self._stderr, self.stdin}:
            if file is not None:
                with contextlib.suppress(BrokenPipeError):  # words that it no longer read
                    file.close()


_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def _die_with_parent() -> None:
    """Where the tests themselves are killed, no fixture ends the process, and signals for their group do not reach it."""
    if _prctl is not None:  # Linux
        _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _content(file: Any) -> str:
    # Not read(): the process writes at the same offset of the same open file.
    content = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    return content.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def start_command(
    *command: object,
    under: Sequence[str] = (),
    cwd: Path | None = None,
    stdin: int | None = subprocess.DEVNULL,
    separate: bool = False,
    pass_fds: Sequence[int] = (),
    **variables: str | None,
) -> Process:
    """Start a command.

    Args:
        under: the words of a launcher, such as those of `torchrun`, that stand before the command.
        stdin: as for subprocess.Popen.
        separate: whether standard output and standard error are kept apart.
        variables: added to the environment, or removed from it if None. PYTHONPATH always begins with this checkout.
    """
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    words = [*under, *map(str, command)]
    process = Process(words, separate, cwd=cwd, stdin=stdin, pass_fds=pass_fds, env=environment)
    _started.append(process)
    return process


def start_python(*words: object, **options: Any) -> Process:
    """Start the interpreter with a script and its arguments, or with ``"-c", code, *arguments``; see `start_command`."""
    return start_command(sys.executable, *words, **options)


def start(*words: object, **options: Any) -> Process:
    """Start the command line, scripts/fit.py; see `start_command` for the options."""
    return start_python(SCRIPTS / "fit.py", *words, **options)


def finish(process: Process, seconds: float = SECONDS) -> tuple[int, str]:
    """Wait until a process and all its descendants have ended; returns its exit code and output."""
    end = time.monotonic() + seconds
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"runs for more than {seconds:g} s: {process.args}\n{process.output}") from None
    while family := process.family():
        assert time.monotonic() < end, f"left processes {family} behind: {process.args}\n{process.output}"
        time.sleep(0.05)
    return process.returncode, process.output


def run(*words: object, **options: Any) -> tuple[int, str]:
    """Run the command line to its end; returns exit code and output."""
    return finish(start(*words, **options))


def run_python(*words: object, **options: Any) -> Process:
    """Run the interpreter to its end, with standard output and standard error kept apart."""
    process = start_python(*words, separate=True, **options)
    finish(process)
    return process


def ends_within(process: Process, seconds: float) -> bool:
    """Wait at most so long; returns whether the process has ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def wait_for(condition: Callable[[], object], *processes: Process, seconds: float = SECONDS) -> None:
    """Wait until a condition holds; fails as soon as one of the processes ends, or when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, f"ended with {process.returncode}: {process.args}\n{process.output}"
        if time.monotonic() > end:
            outputs = [f"{process.args}\n{process.output}" for process in processes]
            raise AssertionError("\n".join([f"not within {seconds:g} s", *outputs]))
        time.sleep(0.005)


def kill(process: Process) -> None:
    """SIGKILL for a process and all its descendants; returns when they have ended."""
    if process.poll() is None:  # else its id may be another's by now
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    while family := process.family():
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def press_ctrl_c(process: Process) -> None:
    """What a terminal does: SIGINT for the process and for its children that have not left its group."""
    os.killpg(process.pid, signal.SIGINT)


def started() -> int:
    """How many processes are remembered; see `end_started`."""
    return len(_started)


def end_started(since: int = 0) -> None:
    """Kill the processes that were started after `started` gave that number; prints the output of those that still ran."""
    while len(_started) > since:
        process = _started.pop()
        if process.poll() is None:
            print(f"still running: {process.args}\n{process.output}")
        kill(process)
        process.close()


def torchrun(ranks: int, *options: str) -> list[str]:
    """The words that put a command under torchrun, on this machine and a free port; for ``under``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    return [*command, "--master-port", str(port), *options, "--no-python"]


def slurm(rank: int, ranks: int = 2) -> dict[str, str]:
    """The variables that srun sets for one task on each of several nodes."""
    return {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "fv", "SLURM_NTASKS": str(ranks), "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0", "SLURM_NODEID": str(rank),
    }  # fmt: skip


def alive(pid: int) -> bool:
    """Whether there is such a process and it is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pictures(run: Path) -> dict[str, bytes]:
    """The pixels of a run's finished pictures, by file name."""
    pixels = {}
    for file in sorted((run / "images").glob("*.png")):
        with Image.open(file) as picture:
            pixels[file.name] = picture.tobytes()
    return pixels


def digest(run: Path) -> str:
    """One hash of the names and pixels of a run's finished pictures."""
    whole = hashlib.sha256()
    for name, pixels in pictures(run).items():
        whole.update(name.encode() + pixels)
    return whole.hexdigest()


def statuses(run: Path) -> list[str]:
    """The status of each target, as the manifest has them."""
    return [record.status for record in read_manifest(run / "manifest.jsonl")]


def listening(process: Process) -> set[str]:
    """Addresses at which a process and its descendants listen, as ``127.0.0.1``; ``::`` and ``0.0.0.0`` are all interfaces."""
    addresses: dict[str, str] = {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # TCP_LISTEN
                words = bytes.fromhex(fields[1].partition(":")[0])  # 32 bits each, in the machine's order
                swapped = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                addresses[f"socket:[{fields[9]}]"] = socket.inet_ntop(family, swapped)
    found = set()
    for pid in process.family():
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(addresses.get(os.readlink(descriptor), ""))
    return found - {""}
