"""Ray: the same jobs as tasks on a cluster whose nodes may come, go and fail."""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from lightning_fv.engines.rendering import JobResult, Setup, begun, render_jobs
from lightning_fv.errors import FeatureVisualizationError, UsageError
from lightning_fv.files import write_atomic, write_text_atomic
from lightning_fv.runs.job import DONE, Job
from lightning_fv.runs.record import Record
from lightning_fv.version import __version__

RETRIES = 3
"""A job that loses its worker more often than this is given up: it may be what kills them."""

GRACE_SECONDS = 20.0
"""Time for running jobs to save checkpoints when the run is stopped; SLURM and Kubernetes kill after 30 s."""

AHEAD = 16
"""Tasks that wait beyond one per free place: what an autoscaler sees of the demand, and what a new node takes at once."""

_TOKEN = ".driver"
_ERROR = "error.txt"


@dataclass(frozen=True)
class RayOptions:
    """Where ``--engine ray`` renders, and what a job takes of a node.

    Args:
        address: HOST:PORT of a running cluster's head, or auto for the one that this machine is part of; by default Ray
            is started on this machine, and stopped at the end
        gpus_per_job: share of a GPU, 0 to 1; default: 1 where the cluster has GPUs, else 0
        cpus_per_job: CPU cores that a job is counted as, and its threads unless OMP_NUM_THREADS is set
        shared_folder: whether workers see the run folder: true, false (results come through Ray's object store), or by
            default what each worker finds

    Raises:
        UsageError: a number that Ray could not give, or an address of another kind.
    """

    address: str | None = None
    gpus_per_job: float | None = None
    cpus_per_job: float = 1.0
    shared_folder: bool | None = None

    def __post_init__(self) -> None:
        if self.gpus_per_job is not None and not 0 <= self.gpus_per_job <= 1:
            raise UsageError(f"--ray.gpus_per_job {self.gpus_per_job:g}: a job renders on one device; give 0 to 1")
        if self.cpus_per_job <= 0 or (self.cpus_per_job > 1 and self.cpus_per_job % 1):
            raise UsageError(f"--ray.cpus_per_job {self.cpus_per_job:g}: give a whole number, or a part of one above 0")
        if self.address is not None and "://" in self.address:
            raise UsageError(
                f"--ray.address {self.address}: give HOST:PORT of the cluster's head, from a machine of the cluster"
            )


def check(options: RayOptions, trainer: Mapping[str, Any]) -> None:
    """Say what stands against Ray before any work: not installed, an address where nobody answers, other devices.

    Args:
        options: where to render.
        trainer: the Trainer's keyword arguments.

    Raises:
        UsageError: one line with the remedy.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UsageError("--engine ray needs Ray; install it: pip install 'lightning_fv[ray]'") from None
    strategy = trainer.get("strategy") in (None, "auto")
    if (
        not strategy
        or trainer.get("devices") not in (None, 1, "1", "auto")
        or trainer.get("num_nodes") not in (None, 1)
    ):
        raise UsageError(
            "--engine ray gives each job one device: leave out trainer.strategy, trainer.devices and trainer.num_nodes, "
            "the cluster's size says how many jobs run"
        )
    if options.address is not None and ":" in options.address:
        host, _, port = options.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()  # Ray itself asks for minutes
        except (OSError, ValueError, OverflowError) as error:
            raise UsageError(
                f"--ray.address {options.address}: nobody answers ({error}); give HOST:PORT that ray start --head printed"
            ) from None


@contextlib.contextmanager
def cluster(options: RayOptions, trainer: Mapping[str, Any]) -> Iterator[None]:
    """Be connected to the cluster, or to a Ray of our own on this machine, which ends with the block.

    Args:
        options: where to render.
        trainer: the Trainer's keyword arguments.

    Raises:
        UsageError: there is no such cluster, or it is of another Ray or Python, or this machine has no room for a job.
    """
    import ray
    import ray._private.worker as talk

    local = options.address is None
    numbers = (signal.SIGINT, signal.SIGTERM)
    main_thread = threading.current_thread() is threading.main_thread()
    before = [signal.getsignal(number) for number in numbers]
    loud, talk._worker_logs_enabled = getattr(talk, "_worker_logs_enabled", True), False  # raylets' notes on stdout
    usage = os.environ.get("RAY_USAGE_STATS_ENABLED")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if local:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked us to report to Ray's makers
            try:
                ray.init(
                    address=options.address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({"include_dashboard": False} if local else {}),
                )
            except Exception as error:  # of many kinds: no cluster, another version, a full disk, called twice
                place = "on this machine" if local else f"at --ray.address {options.address}"
                raise UsageError(f"cannot connect to Ray {place}: {_first_line(error)}") from None
            finally:
                if main_thread:
                    for number, handler in zip(numbers, before, strict=True):
                        signal.signal(number, handler)  # Ray sets one of its own for SIGTERM and leaves it there
        try:
            share = _share(options, trainer)
            if local and not _places(share):
                raise UsageError(
                    f"this machine has no room for a job of {share[0]:g} CPUs and {share[1]:g} GPUs; "
                    "ask for less by --ray.cpus_per_job and --ray.gpus_per_job, or connect by --ray.address"
                )
            yield
        finally:
            ray.shutdown()
    finally:
        talk._worker_logs_enabled = loud
        if usage is None:
            os.environ.pop("RAY_USAGE_STATS_ENABLED", None)


# -- the driver ----------------------------------------------------------------------------------------------------


@dataclass
class _Attempt:
    """A job on its way, and how often it lost its worker."""

    job: Job
    lost: int = 0


def render_on_ray(
    setup: Setup, jobs: Sequence[Job], folder: Path, options: RayOptions, fail_fast: bool = False
) -> Iterator[JobResult]:
    """Render jobs on the cluster that `cluster` connects to, and yield results in the order in which they end.

    Jobs that are done in the folder are not rendered again. A job that fails has ``partial`` records with an ``error``,
    and the others go on. After SIGINT or SIGTERM running jobs save what they have; their results carry the signal.

    Args:
        setup: what the jobs have in common.
        jobs: from `plan`.
        folder: the run folder, which the workers need not see.
        options: what a job takes, and whether the folder is shared.
        fail_fast: stop the others after the first job that has a target that is not done.

    Raises:
        UsageError: the network or a part of the recipe cannot be sent to another process.
    """
    import ray

    waiting: deque[_Attempt] = deque()
    for job in jobs:
        done = job.done(folder)
        if done is not None:
            job.clear_checkpoints(folder)
            yield JobResult(job, done)
        else:
            waiting.append(_Attempt(job))
    if not waiting:
        return

    folder = folder.resolve()
    share = _share(options, setup.options)
    parcel = _pack(setup, folder, options, share)
    task = ray.remote(_work)
    asked = {"num_cpus": share[0], "num_gpus": share[1], "max_retries": 0}  # retries are counted here
    flying: dict[Any, _Attempt] = {}
    line = _Line(len(jobs), waiting, setup.options.get("enable_progress_bar") in (None, True))
    room, looked, stuck_since = 0, 0.0, 0.0
    stop = False
    with _Signals() as signals, line:
        try:
            write_text_atomic(folder / _TOKEN, parcel.token)
            while (waiting or flying) and signals.received is None and not stop:
                now = time.monotonic()
                if now - looked > 2:
                    places = _places(share)
                    room, looked = 2 * places + AHEAD, now
                    stuck_since = stuck_since or now if not places else 0.0
                    if stuck_since and now - stuck_since > 5:
                        line.say_once(f"no node has {share[0]:g} CPUs and {share[1]:g} GPUs for a job; waiting for one")
                while waiting and len(flying) < room:
                    attempt = waiting.popleft()
                    sent = replace(parcel, job=attempt.job, checkpoints=_saved(attempt.job, folder, options))
                    spread = {"scheduling_strategy": "SPREAD"} if attempt.lost else {}  # rather on another node
                    flying[task.options(name=f"job {attempt.job.id}", **asked, **spread).remote(sent)] = attempt
                for ref in ray.wait(list(flying), timeout=0.5)[0]:
                    attempt = flying.pop(ref)
                    outcome = _collect(ref)
                    if outcome.lost is not None and attempt.lost < RETRIES:
                        attempt.lost += 1
                        left = f"retry {attempt.lost} of {RETRIES}"
                        line.say(f"job {attempt.job.id} lost its worker ({outcome.lost}); {left}")
                        waiting.appendleft(attempt)
                        with contextlib.suppress(OSError):
                            _store(folder, attempt.job, outcome)  # the checkpoint of a worker that was told to leave
                        continue
                    result = _settle(setup, folder, attempt, outcome, line)
                    stop = stop or (fail_fast and any(record.status != "done" for record in result.records))
                    yield result
                line.show()
            if flying and (stop or signals.received is not None):
                yield from _stop(setup, folder, flying, signals, line)
        finally:
            for ref in flying:
                with contextlib.suppress(Exception):
                    ray.cancel(ref, force=True)
            with contextlib.suppress(OSError):
                (folder / _TOKEN).unlink(missing_ok=True)


def _stop(
    setup: Setup, folder: Path, flying: "dict[Any, _Attempt]", signals: "_Signals", line: "_Line"
) -> Iterator[JobResult]:
    """Let running jobs end their step and save, for a while; a second signal does not wait for them."""
    import ray

    for ref in flying:
        with contextlib.suppress(Exception):  # it may have ended meanwhile
            ray.cancel(ref)  # as Ctrl-C at the worker
    line.say("stopping: running jobs save their checkpoints")
    end = time.monotonic() + GRACE_SECONDS
    while flying and time.monotonic() < end and not signals.again:
        for ref in ray.wait(list(flying), timeout=0.2)[0]:
            attempt = flying.pop(ref)
            outcome = _collect(ref)
            if outcome.lost is None:
                result = _settle(setup, folder, attempt, outcome, line)
            else:  # stopped in mid-job, or cancelled in the queue
                with contextlib.suppress(OSError):
                    _store(folder, attempt.job, outcome)
                result = JobResult(attempt.job, outcome.records or begun(setup, attempt.job, folder))
            yield replace(result, signal=signals.received)
    for attempt in flying.values():
        yield JobResult(attempt.job, begun(setup, attempt.job, folder), signal=signals.received)


def _settle(setup: Setup, folder: Path, attempt: _Attempt, outcome: "_Outcome", line: "_Line") -> JobResult:
    """Write what came back of a job, and say what became of it."""
    job, reason = attempt.job, outcome.error
    if outcome.lost is not None:
        reason = f"it lost its worker {attempt.lost + 1} times ({outcome.lost})"
    try:
        _store(folder, job, outcome)
    except OSError as error:
        reason = f"its results cannot be written: {error}"
    for warning in outcome.warnings:
        line.say_once(f"warning: {warning}")
    if reason is None:
        job.clear_checkpoints(folder)  # of an earlier worker that was lost
        line.count(job)
        return JobResult(job, outcome.records)
    where = f"; its traceback: {job.folder(folder) / _ERROR}" if outcome.traceback else ""
    line.say(f"job {job.id} ({_named(job)}) failed: {reason}{where}")
    records = begun(setup, job, folder)
    for record in records:
        record.scores["error"] = f"job {job.id}: {reason}"
    return JobResult(job, records)


def _collect(ref: Any) -> "_Outcome":
    """What came of a task; whatever Ray says of it is told in one line."""
    import ray
    from ray import exceptions

    try:
        outcome: _Outcome = ray.get(ref)
        return outcome
    except (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,  # the node left with the result
        exceptions.TaskCancelledError,
    ) as error:
        kind = type(error).__name__.removesuffix("Error")
        return _Outcome(lost="its node ran out of memory" if kind == "OutOfMemory" else kind)
    except exceptions.RayTaskError as error:  # before our code ran: the package or a class is not there
        return _Outcome(error=f"a worker cannot run it: {_last_line(error)}; install the same packages on all nodes")
    except Exception as error:
        return _Outcome(error=_last_line(error))


def _store(folder: Path, job: Job, outcome: "_Outcome") -> None:
    """Write files that came through the object store, each whole, the one that marks the job as done last."""
    for name in sorted(outcome.files, key=lambda name: Path(name).name == DONE):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, functools.partial(_write, outcome.files[name]), durable=path.parent.name != "frames")
        if path.parent.name == "images":
            (folder / "partial" / path.name).unlink(missing_ok=True)
    told = job.folder(folder) / _ERROR
    if outcome.traceback:
        told.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(told, outcome.traceback)
    elif outcome.error is None and outcome.lost is None:
        told.unlink(missing_ok=True)  # of an earlier run


def _write(content: bytes, file: Any) -> None:
    file.write(content)


def _pack(setup: Setup, folder: Path, options: RayOptions, share: tuple[float, float]) -> "_Parcel":
    """What all tasks have in common; the network goes into the object store once."""
    import ray
    from ray import cloudpickle

    trainer = {**setup.options, "enable_progress_bar": False}
    if trainer.get("accelerator") in (None, "auto"):
        # A GPU that Ray did not give is another job's; one that it gave and torch cannot use is worth an error.
        trainer["accelerator"] = "gpu" if share[1] else "cpu"
    shipped = replace(setup, options=trainer)
    assert shipped.settings  # hashed here once, not on each worker
    try:
        content = cloudpickle.dumps(shipped)
    except Exception as error:  # pickling raises whatever the object likes
        raise UsageError(f"the network or the recipe cannot be sent to other processes: {_first_line(error)}") from None
    # Ray gives its workers as many threads as a task has CPUs; but sums, and so bits, depend on them.
    threads = torch.get_num_threads() if os.environ.get("OMP_NUM_THREADS") else max(1, int(share[0]))
    return _Parcel(
        setup=ray.put(content),
        digest=hashlib.blake2b(content, digest_size=16).hexdigest(),
        folder=str(folder),
        token=secrets.token_hex(16),
        shared=options.shared_folder,
        threads=threads,
        versions=_versions(),
    )


def _saved(job: Job, folder: Path, options: RayOptions) -> Any:
    """The job's checkpoints in the object store, for a worker that does not see the folder; None if there are none."""
    import ray

    saved: dict[str, bytes] = {}
    if options.shared_folder is not True:
        for file in (job.folder(folder) / "checkpoints").glob("*.ckpt"):
            with contextlib.suppress(OSError):  # a worker that was given up may still clear its own away
                saved[file.relative_to(folder).as_posix()] = file.read_bytes()
    return ray.put(saved) if saved else None


def _share(options: RayOptions, trainer: Mapping[str, Any]) -> tuple[float, float]:
    """(CPUs, GPUs) that a job takes."""
    import ray

    gpus = options.gpus_per_job
    if gpus is None:
        gpus = 1.0 if trainer.get("accelerator") != "cpu" and ray.cluster_resources().get("GPU") else 0.0
    return options.cpus_per_job, gpus


def _places(share: tuple[float, float]) -> int:
    """How many jobs fit on the nodes there are now."""
    import ray

    places = 0
    for node in ray.nodes():
        if node["Alive"]:
            there = node["Resources"]
            fits = [int(there.get(name, 0) / part) for name, part in zip(("CPU", "GPU"), share, strict=True) if part]
            places += min(fits, default=0)
    return places


class _Signals:
    """Takes SIGINT and SIGTERM while jobs are out.

    Attributes:
        received: the number of the first, or None.
        again: whether there was a second.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.again = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._take) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.again = self.received is not None
        self.received = self.received if self.received is not None else number


class _Line:
    """One line on stderr: rewritten on a terminal, else at most one every ten seconds."""

    def __init__(self, jobs: int, waiting: Sequence[_Attempt], shown: bool) -> None:
        self.jobs, self.shown = jobs, shown
        self.done = jobs - len(waiting)
        self._left = sum(len(attempt.job.targets) for attempt in waiting)
        self._made = 0
        self._start = time.monotonic()
        self._written = (self._start, "")
        self._said: set[str] = set()
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.show(last=True)

    def count(self, job: Job) -> None:
        """A job is done."""
        self.done += 1
        self._made += len(job.targets)
        self._left -= len(job.targets)

    def show(self, last: bool = False) -> None:
        """Write the line if it is time."""
        now = time.monotonic()
        text = f"{self.done} of {self.jobs} jobs"
        if self._made:
            rate = self._made / (now - self._start)
            text += f", {rate:.2g} pictures/s, {timedelta(seconds=round(self._left / rate))} left"
        written, before = self._written
        if not self.shown or (not last and (text == before or now - written < (0.5 if self._terminal else 10.0))):
            return
        self._written = (now, text)
        ends = ("\r", "\x1b[K\n" if last else "\x1b[K") if self._terminal else ("", "\n")
        print(f"{ends[0]}{text}", end=ends[1], file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line of its own, above."""
        clear = "\r\x1b[K" if self._terminal and self.shown else ""
        print(f"{clear}lightning-fv: {text}", file=sys.stderr, flush=True)

    def say_once(self, text: str) -> None:
        """`say` what was not said yet."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)


# -- the worker ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parcel:
    """What a task is sent.

    Attributes:
        setup: reference to the pickled Setup in the object store.
        digest: of its bytes.
        folder: the run folder, as the driver sees it.
        token: what stands in its token file, if it is the same folder.
        shared: whether the worker must see the folder (True), must not use it (False), or finds out.
        threads: of torch, as the driver's.
        versions: the driver's, of what pictures depend on.
        job: what to render.
        checkpoints: reference to the job's checkpoints by name, or None.
    """

    setup: Any
    digest: str
    folder: str
    token: str
    shared: bool | None
    threads: int
    versions: dict[str, str]
    job: Job = field(default_factory=lambda: Job("", ()))
    checkpoints: Any = None


@dataclass(frozen=True)
class _Outcome:
    """What comes back.

    Attributes:
        records: one per target, if the job ended well or in mid-way.
        files: by name in the run folder, where the worker does not see it.
        error: why the job failed.
        traceback: of an error that is not the package's own.
        lost: how the worker went, if it did.
        warnings: what Python warned of meanwhile.
    """

    records: list[Record] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None
    lost: str | None = None
    warnings: list[str] = field(default_factory=list)


_LOADED: dict[str, Setup] = {}
"""The last Setup of this worker process, by digest: its next job does not load the network again."""


def _work(parcel: _Parcel) -> _Outcome:
    """Render a job on a worker."""
    other = [f"{name} {version}" for name, version in _versions().items() if version != parcel.versions[name]]
    if other:
        mine = ", ".join(f"{name} {version}" for name, version in parcel.versions.items())
        return _Outcome(
            error=f"node {socket.gethostname()} has {', '.join(other)}, the driver {mine}; install the same"
        )
    torch.set_num_threads(parcel.threads)
    with warnings.catch_warnings(record=True) as caught:
        try:
            outcome = _render(parcel)
        except FeatureVisualizationError as error:
            outcome = _Outcome(error=str(error))
        except Exception as error:  # of a user's class, the machine, the disk: the other jobs must not end of it
            outcome = _Outcome(error=f"{type(error).__name__}: {_first_line(error)}", traceback=traceback.format_exc())
    told = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    told = [text for text in told if not text.startswith(f"job {parcel.job.id} ")]  # the driver says that one itself
    return replace(outcome, warnings=list(dict.fromkeys(told)))


def _render(parcel: _Parcel) -> _Outcome:
    import ray

    if parcel.digest not in _LOADED:
        _LOADED.clear()  # first: two networks at once may be too much
        try:
            _LOADED[parcel.digest] = pickle.loads(ray.get(parcel.setup))
        except ImportError as error:
            raise UsageError(
                f"node {socket.gethostname()} cannot load the network or the recipe: {error}; install it on all nodes"
            ) from error
    setup, folder = _LOADED[parcel.digest], Path(parcel.folder)
    seen = parcel.shared is not False and _sees(folder, parcel.token)
    if not seen and parcel.shared:
        raise UsageError(f"node {socket.gethostname()} does not see {folder}; leave out --ray.shared_folder true")
    if seen:
        (result,) = render_jobs(setup, [parcel.job], folder)
        return _outcome(result, {})
    with tempfile.TemporaryDirectory(prefix="lightning_fv-") as temporary:
        run = Path(temporary)
        for name, content in (ray.get(parcel.checkpoints) if parcel.checkpoints is not None else {}).items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
        (result,) = render_jobs(setup, [parcel.job], run)
        done = parcel.job.done(run) is not None
        files = [file for file in run.rglob("*") if file.is_file() and not (done and file.suffix == ".ckpt")]
        return _outcome(result, {file.relative_to(run).as_posix(): file.read_bytes() for file in files})


def _outcome(result: JobResult, files: dict[str, bytes]) -> _Outcome:
    if result.failed:
        return _Outcome(error=str(result.records[0].scores["error"]))
    # A signal is the driver's, or the end of the node: the driver knows which.
    lost = None if result.signal is None else f"it was stopped by {signal.Signals(result.signal).name}"
    return _Outcome(records=result.records, files=files, lost=lost)


def _sees(folder: Path, token: str) -> bool:
    """Whether this is the driver's own folder, and can be written: another machine may have one of that name."""
    try:
        if (folder / _TOKEN).read_text(encoding="utf-8") != token:
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, ValueError):
        return False


def _versions() -> dict[str, str]:
    return {"lightning_fv": __version__, "torch": torch.__version__.partition("+")[0]}


def _named(job: Job) -> str:
    texts = [target.text for target in job.targets]
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
