"""Commands in forked processes: the imports of torch and Lightning, seconds each time, are paid once.

The parent only imports. It never computes, so that it has no second thread when it forks.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lightning_fv.commands.main import main

MEMORY = 3 << 30
"""Bytes of address space that a process gets on top of what it inherits."""

RESIDENT = 1500 << 20
"""Bytes of memory that it may really use on top of that: these runs need less than 200 MB."""

BUSY = 90.0
"""Seconds of a processor's time that a command may take: these take one or two."""

HANG = 600.0
"""Seconds that it may take on a busy machine."""

IDLE = 15.0
"""Seconds that it may do nothing at all."""


@dataclass
class Command:
    """A command line to run.

    Attributes:
        args: for `main`.
        cwd: the folder to run in.
        call: what to run instead of `main`; returns the exit code.
        signals: (seconds after the start, number), in order; or a function that does something meanwhile.
        environment: variables to set.
    """

    args: list[str]
    cwd: Path
    call: Callable[[], int] | None = None
    signals: Sequence[tuple[float, int | Callable[[], object]]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """How a command ended: ``code`` is negative for a signal; ``hung`` says how, if it did not end."""

    code: int
    out: str
    err: str
    seconds: float
    cpu: float
    memory: int
    hung: str = ""


Case = Generator[Command, Result, str]
"""Yields commands, is sent their results, and returns what came of it in a word."""


class Running:
    """One forked process.

    Attributes:
        environment: variables for all of them.
    """

    environment: ClassVar[Mapping[str, str]] = {}

    def __init__(self, command: Command) -> None:
        self.command = command
        self.files = [command.cwd.parent / name for name in ("stdout", "stderr")]
        ready, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ready)
            _child(command, self.files, told)
        os.close(told)
        os.read(ready, 1)  # it has come to the command
        os.close(ready)
        self.start = self.active = time.monotonic()
        self.ticks = -1
        self.looked = self.start
        self.signals = list(command.signals)

    def poll(self) -> Result | None:
        """Send the signals that are due; returns the result once the process has ended, or has to be killed."""
        now, hung = time.monotonic(), ""
        while self.signals and now - self.start >= self.signals[0][0]:
            _, what = self.signals.pop(0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, what) if isinstance(what, int) else what()
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            hung = self._hung(now)
            if not hung:
                return None
            os.killpg(self.pid, signal.SIGKILL)
            pid, status, usage = os.wait4(self.pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it has left behind
        out, err = (file.read_text(encoding="utf-8", errors="replace") for file in self.files)
        cpu = usage.ru_utime + usage.ru_stime
        return Result(os.waitstatus_to_exitcode(status), out, err, now - self.start, cpu, usage.ru_maxrss << 10, hung)

    def _hung(self, now: float) -> str:
        if now - self.start > HANG:
            return f"ran for more than {HANG:g} s"
        if now - self.looked < 1:
            return ""
        self.looked = now
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            if ticks > BUSY * os.sysconf("SC_CLK_TCK"):
                return f"computed for more than {BUSY:g} s"
            waits = bool(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())
            if ticks != self.ticks or waits or fields[0] in "RD":
                self.ticks, self.active = ticks, now
        return f"did nothing for {IDLE:g} s" if now - self.active > IDLE else ""


def _child(command: Command, files: Sequence[Path], told: int) -> None:
    """The forked process: runs the command and exits with its code."""
    code = 70
    try:
        os.setsid()
        for number, file in enumerate(files, 1):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
            os.dup2(descriptor, number)
            os.close(descriptor)
        # As in a process of its own, whatever the parent has put there.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.chdir(command.cwd)
        os.environ |= {**Running.environment, **command.environment}
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # nohup may have had them ignored
        sys.argv = ["lightning-fv", *command.args]
        os.write(told, b"r")
        os.close(told)
        code = command.call() if command.call is not None else main(command.args)
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does: waits for threads that are no daemons
    except KeyboardInterrupt:  # after main: the interpreter would end
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run(command: Command) -> Result:
    """Run one command to its end."""
    running = Running(command)
    while (result := running.poll()) is None:
        time.sleep(0.005)
    return result


def import_all(run_once: Callable[[Callable[[], int]], object], call: Callable[[], int], list_file: Path) -> None:
    """Import in this process whatever a command imports late, as a forked process tells.

    Args:
        run_once: runs a function in a forked process and checks how it ends.
        call: the command.
        list_file: where the forked process writes what it has imported.
    """

    def told() -> int:
        code = call()
        list_file.write_text(json.dumps(list(sys.modules)))
        return code

    run_once(told)
    for name in json.loads(list_file.read_text()):
        if name not in sys.modules and not name.startswith("torch_"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def run_cases(cases: Sequence[tuple[int, Callable[[], Case]]], at_once: int, done: Callable[[int, Any], None]) -> None:
    """Run cases, some at once.

    Args:
        cases: each with its number, and a function that starts it.
        at_once: how many.
        done: called with the number and what the case returned, or the exception that it raised.
    """
    waiting = list(reversed(cases))
    active: list[tuple[int, Case, Running]] = []

    def go_on(number: int, case: Case, result: Result | None) -> None:
        try:
            command = next(case) if result is None else case.send(result)
        except StopIteration as end:
            done(number, end.value)
        except Exception as error:
            done(number, error)
        else:
            active.append((number, case, Running(command)))

    try:
        while waiting or active:
            while waiting and len(active) < at_once:
                number, start = waiting.pop()
                go_on(number, start(), None)
            for entry in list(active):
                if (result := entry[2].poll()) is not None:
                    active.remove(entry)
                    go_on(entry[0], entry[1], result)
            time.sleep(0.005)
    finally:
        for _, _, running in active:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
