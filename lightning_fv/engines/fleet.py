"""Ranks that share a run folder: each alone in its place, each seen to live, waited for at the end.

They meet in the folder alone, by small files in ``.ranks/``: no address, no port, no process group. What is asked of
the file system is that a file that was renamed into place is soon seen by all, and that `flock` works.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from tqdm import tqdm

from lightning_fv.engines.placement import Place
from lightning_fv.errors import RunFolderError, UsageError
from lightning_fv.files import write_text_atomic
from lightning_fv.runs.job import Job

RANKS = ".ranks"
"""Inside of the run folder: a lock and a heartbeat for each rank."""

BEAT_SECONDS = 1.0
SILENCE = ("LIGHTNING_FV_SILENCE", 60.0)
"""Variable, and seconds without it, after which a rank whose heartbeat stands still is given up."""
MEETING = ("LIGHTNING_FV_MEETING", 600.0)
"""Variable, and seconds without it, that other ranks wait for rank 0 at the start."""
_GRACE = 10.0  # seconds that ranks of other launchers get to end after a signal, which their launcher sends them too
_PARENT = "LIGHTNING_FV_PARENT"  # process id of the rank that started this one


def seconds_of(setting: tuple[str, float]) -> float:
    """The seconds that a variable gives, or its default.

    Raises:
        UsageError: they are not a number above 0.
    """
    name, default = setting
    text = os.environ.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError(f"the variable {name} must be seconds above 0, not {text!r}")
    return seconds


# -- one process per folder and rank ---------------------------------------------------------------------------------


@contextlib.contextmanager
def hold_slot(folder: Path, rank: int) -> Iterator[None]:
    """Hold a rank's place in a run folder; the system lets go of it however the process ends, kill -9 included.

    Rank 0 has to find all other places empty too: a rank of an earlier launch may still live.

    Raises:
        RunFolderError: another process holds it.
    """
    slots = folder / RANKS
    slots.mkdir(exist_ok=True)
    with (slots / f"{rank}.lock").open("a+") as file:
        _lock(file, folder, rank)
        if rank == 0:
            for other in sorted(slots.glob("*.lock")):
                if other.stem != "0":
                    _await_empty(other, folder)
        yield


def _lock(file: IO[str], folder: Path, rank: int | str) -> None:
    if sys.platform == "win32":
        return
    import fcntl  # here: Windows has none

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise RunFolderError(
            f"{folder} is in use: {file.read().strip() or 'another process'} renders there as rank {rank}; "
            "wait for it, stop it, or choose another folder"
        ) from None
    except OSError as error:
        warnings.warn(
            f"{folder} takes no locks ({error.strerror}): a second process there is not noticed", stacklevel=2
        )
        return
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()


def _await_empty(slot: Path, folder: Path) -> None:
    end = time.monotonic() + _GRACE  # it may be about to end, as ranks do that have lost the process that started them
    while True:
        with slot.open("a+") as file:
            try:
                return _lock(file, folder, slot.stem)
            except RunFolderError:
                if time.monotonic() > end:
                    raise
        time.sleep(0.2)


# -- signs of life ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself every second.

    Attributes:
        launch: drawn by rank 0; what other launches have left behind is told by it.
        number: counts up: life is told by change, so that clocks need not agree.
        ranks: how many there are, as this rank was told.
        work: hash over the ids of all jobs.
        jobs: done of the rank's share, also in earlier launches.
        pictures: rendered in this launch.
        ended: whether it has come to its end.
        failed: whether a target of its share is not done.
    """

    launch: str
    number: int
    ranks: int
    work: str
    jobs: int = 0
    pictures: int = 0
    ended: bool = False
    failed: bool = False


def read_beat(folder: Path, rank: int) -> Beat | None:
    """A rank's last sign of life, or None."""
    try:
        return Beat(**json.loads((folder / RANKS / f"{rank}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def work_of(jobs: Sequence[Job]) -> str:
    """A hash that is the same on all ranks that would render the same pictures."""
    return hashlib.blake2b(" ".join(job.id for job in jobs).encode(), digest_size=6).hexdigest()


def await_rank_0(folder: Path, place: Place, come: Callable[[], bool]) -> None:
    """Wait until ``come``.

    Raises:
        RunFolderError: it did not in time.
    """
    limit = seconds_of(MEETING)
    end = time.monotonic() + limit
    while not come():
        if _is_orphaned():
            raise RunFolderError(f"rank {place.rank} has lost the process that started it; go on with --resume")
        if time.monotonic() > end:
            raise RunFolderError(
                f"rank {place.rank} has waited {limit:g} s for rank 0 in {folder}; start rank 0 with the same options, "
                "in a folder that all ranks see"
            )
        time.sleep(BEAT_SECONDS / 5)


def meet(folder: Path, place: Place, jobs: Sequence[Job], agree: Callable[[], None]) -> str:
    """Wait until rank 0 is seen to live in the folder; returns the name of its launch.

    Args:
        folder: the run folder.
        place: of this rank, which is another.
        jobs: of the whole run.
        agree: raises if the settings in the folder are not this rank's.

    Raises:
        RunFolderError: it did not come in time, has ended, or is about something else.
    """
    before = read_beat(folder, 0)
    await_rank_0(folder, place, lambda: read_beat(folder, 0) not in (None, before))
    agree()
    now = read_beat(folder, 0)
    assert now is not None
    if now.ranks != place.ranks:
        raise RunFolderError(
            f"rank 0 in {folder} counts {now.ranks} ranks, rank {place.rank} counts {place.ranks}; "
            "start all with the same --trainer.devices and --trainer.num_nodes"
        )
    if now.work != work_of(jobs):
        raise RunFolderError(
            f"rank {place.rank} would render other pictures than rank 0 in {folder}; "
            "give all ranks the same options, weights and version of lightning_fv"
        )
    if now.ended:
        raise RunFolderError(f"rank 0 in {folder} has ended before rank {place.rank} began; go on with --resume")
    return now.launch


# -- a rank at work --------------------------------------------------------------------------------------------------


class Member:
    """A rank at work: beats every second, notes signals between jobs, and looks after the ranks it started.

    Args:
        folder: the run folder.
        place: of this process.
        jobs: of the whole run.
        launch: its name; drawn anew by rank 0.
        command: words of the command line for the ranks that this process starts.
        shared: whether all ranks render the same job: then none can do without the others.
        show: whether to draw the line of progress; rank 0 alone does.
    """

    def __init__(
        self,
        folder: Path,
        place: Place,
        jobs: Sequence[Job],
        *,
        launch: str | None = None,
        command: Sequence[str] = (),
        port: int | None = None,
        shared: bool = False,
        show: bool = False,
    ) -> None:
        self.folder, self.place, self.jobs, self.shared = folder, place, jobs, shared
        self.received: int | None = None
        """The number of the signal that came first, while no fit was there to note it."""
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        """The ranks that this process started, by number."""
        self._command, self._port = command, port
        self.working = False
        """Whether a job is rendered: a signal that a fit did not note is then said again."""
        self._beat = Beat(launch or uuid.uuid4().hex, 0, place.ranks, work_of(jobs))
        self._jobs = self._pictures = 0
        self._failed = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)
        self._handlers: dict[int, Any] = {}
        self._line = _Line(folder, place.ranks, jobs, self._beat.launch) if show else None
        self._silence = seconds_of(SILENCE)
        self._begin = time.monotonic()

    def __enter__(self) -> "Member":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._note)
        self._say()
        self._thread.start()
        for local_rank in range(1, self.place.starts + 1):
            rank = self.place.rank + local_rank
            if self.shared or not self._has_done(rank):  # done, or without a job
                self.children[rank] = start_rank(self.place, local_rank, self._command, self._port)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            if self.shared:  # they may hang in a collective, deaf to signals that ask
                for child in self.children.values():
                    child.kill()
            self.stop_children()
        self._stopped.set()
        self._thread.join()
        if self._line is not None:
            self._line.close()
        self._say(ended=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def finished(self, pictures: int, failed: bool = False) -> None:
        """Count a job of the rank's share.

        Args:
            pictures: 0 if it was done before.
            failed: whether a target of it is not done.
        """
        self._jobs, self._pictures, self._failed = self._jobs + 1, self._pictures + pictures, self._failed or failed

    def any_failed(self) -> bool:
        """Whether any rank of this launch has rendered a target that is not done."""
        beats = [read_beat(self.folder, rank) for rank in range(self.place.ranks)]
        return self._failed or any(b.failed for b in beats if b is not None and b.launch == self._beat.launch)

    def stop_children(self) -> None:
        """Ask the ranks that this process started to stop in good order, and wait until they have."""
        self._terminate_children()
        for child in self.children.values():
            child.wait()

    def _terminate_children(self) -> None:
        for child in self.children.values():
            if child.poll() is None:
                child.terminate()  # not SIGINT: from a terminal they have had that already, and two mean at once

    def wait(self) -> list[str]:
        """Wait for the ranks that this process started and, as rank 0, for all others: until they end or fall silent.

        Returns:
            What went wrong, a clause each.
        """
        if self.received is not None:
            self.stop_children()
        children = self.children
        waiting = set(children)
        if self.place.rank == 0 and not self.shared:  # ranks that share a job end together
            waiting |= set(range(1, self.place.ranks))
        now = time.monotonic()
        # One that was not seen yet may be slow to start: it gets three times as long, from the start of the launch.
        seen = dict.fromkeys(waiting, (-1, max(now, self._begin + 2 * self._silence)))
        wrong: dict[int, str] = {}
        signalled = None
        while waiting:
            for rank in sorted(waiting):
                child, beat = children.get(rank), read_beat(self.folder, rank)
                number = beat.number if beat is not None and beat.launch == self._beat.launch else -1
                if number != seen[rank][0]:
                    seen[rank] = (number, time.monotonic())
                silent = time.monotonic() - seen[rank][1] > self._silence
                ended = number >= 0 and beat is not None and beat.ended
                if child is not None:
                    silent = silent and number >= 0 and not ended  # before and after it is seen to live as a process
                    if (code := child.poll()) is not None:
                        waiting.remove(rank)
                        if code != 0 and self.received is None:
                            wrong[rank] = f"rank {rank} ended with {_told(code)}"
                        continue
                elif ended or (number < 0 and self._has_done(rank)):
                    waiting.remove(rank)
                    continue
                if silent:
                    waiting.remove(rank)
                    wrong[rank] = f"rank {rank} gave no sign of life for {self._silence:g} s"
                    if child is not None:
                        child.kill()
                        child.wait()
            if self.received is not None:
                signalled = signalled or time.monotonic()
                if time.monotonic() - signalled > _GRACE:
                    waiting &= set(children)
            time.sleep(0.1)
        return [clause for rank, clause in wrong.items() if rank in children or not self._has_done(rank)]

    def _has_done(self, rank: int) -> bool:
        """Whether all jobs of a rank are done; of one that has none it is all that is ever known."""
        return all(job.marked(self.folder) for job in self.jobs[rank :: self.place.ranks])

    # -- on the thread -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        while not self._stopped.wait(min(BEAT_SECONDS, self._silence / 4)):
            self._say()
            if self._line is not None:
                self._line.show()
            if _is_orphaned() or (self.working and self.received is not None):
                # Said again every second: a fit notes signals from its first step on, and may just have begun.
                os.kill(os.getpid(), signal.SIGTERM)
            if self.shared and self.working:
                self._check_all_live()

    def _say(self, ended: bool = False) -> None:
        count = self._beat.number + 1
        self._beat = dataclasses.replace(
            self._beat,
            number=count,
            jobs=self._jobs,
            pictures=self._pictures,
            ended=ended,
            failed=self._failed,
        )
        text = json.dumps(dataclasses.asdict(self._beat))
        with contextlib.suppress(OSError):  # a full disk must not end the render; others then take this rank for silent
            write_text_atomic(self.folder / RANKS / f"{self.place.rank}.json", text, durable=False)

    def _check_all_live(self) -> None:
        """End at once if a rank has died: all others wait for it in a collective, which may never return."""
        good = (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM)  # signals stop all after the same step
        codes = [code for child in self.children.values() if (code := child.poll()) not in good]
        if codes:
            told = f"a rank ended with {_told(codes[0])}, and ddp needs all; go on with --resume --out {self.folder}"
            print(f"\nlightning-fv: {told}", file=sys.stderr, flush=True)
            for child in self.children.values():
                child.kill()
            os._exit(1)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            os._exit(128 + number)  # every file is written atomically: there is nothing to tidy
        if self.received is None:
            self.received = number
            self._terminate_children()


def start_rank(place: Place, local_rank: int, command: Sequence[str], port: int | None) -> subprocess.Popen[bytes]:
    """Start a further rank of this node, by the variables that Lightning's own launcher uses.

    Args:
        place: of the process that starts it.
        local_rank: of the rank.
        command: words of the command line.
        port: where rank 0 listens, if the ranks shall form a process group.
    """
    environment = {**os.environ, "LOCAL_RANK": str(local_rank), "NODE_RANK": str(place.node), _PARENT: str(os.getpid())}
    if port is not None:
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    # The same modules, also those that lie beside a script of the user's own: `-m` would look in the working folder first.
    # A terminal's Ctrl-C is for all: until a rank notes signals itself, the one that started it asks it to stop.
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    code += f"import sys; sys.path[:] = {sys.path!r}; from lightning_fv.commands.main import console; console()"
    return subprocess.Popen([sys.executable, "-c", code, *command], env=environment, stdin=subprocess.DEVNULL)


def _is_orphaned() -> bool:
    """Whether another rank started this one, and has ended."""
    parent = os.environ.get(_PARENT)
    return parent is not None and str(os.getppid()) != parent


def _told(code: int | None) -> str:
    return f"signal {-code} ({signal.Signals(-code).name})" if code is not None and code < 0 else f"code {code}"


class _Line:
    """One line for the whole fleet: jobs done, pictures per second, time left."""

    def __init__(self, folder: Path, ranks: int, jobs: Sequence[Job], launch: str) -> None:
        self.folder, self.ranks, self.launch = folder, min(ranks, len(jobs)), launch
        self.pictures = sum(len(job.targets) for job in jobs)
        self._start = time.monotonic()
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} jobs{postfix}"
        self._shown = (-1, -1)
        self._bar: tqdm[Any] = tqdm(total=len(jobs), file=sys.stderr, dynamic_ncols=True, bar_format=form)

    def show(self) -> None:
        beats = [beat for rank in range(self.ranks) if (beat := read_beat(self.folder, rank)) is not None]
        beats = [beat for beat in beats if beat.launch == self.launch]
        done, pictures = sum(beat.jobs for beat in beats), sum(beat.pictures for beat in beats)
        if (done, pictures) == self._shown and not sys.stderr.isatty():
            return  # a file of a night's run must not fill with lines that are all the same
        self._shown = (done, pictures)
        rate = pictures / max(time.monotonic() - self._start, 1e-9)
        # Jobs that were done before tell nothing of the pace; a job's size is the average's.
        left = (self._bar.total - done) * self.pictures / self._bar.total
        pace = f"{rate:.3g} pictures/s, {tqdm.format_interval(left / rate)} left" if rate > 0 else "? pictures/s"
        ranks = f"{len(beats)} rank{'s' if len(beats) != 1 else ''}"
        self._bar.set_postfix_str(f"{pace}, {ranks}", refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def close(self) -> None:
        self.show()
        self._bar.close()
