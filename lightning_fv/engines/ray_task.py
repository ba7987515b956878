"""A job on a worker of a Ray cluster: rendered in a temporary folder, whose files are sent back."""

import pickle
import signal
import socket
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.job import concerns_the_run, job_renderer, restorer
from lightning_fv.engines.plan import Plan, Setup
from lightning_fv.errors import FeatureVisualizationError, UsageError, first_line
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import Job
from lightning_fv.runs.record import Record
from lightning_fv.runs.transfer import pack, unpack
from lightning_fv.version import __version__


@dataclass(frozen=True)
class Task:
    """What a worker has to do.

    Attributes:
        job: what to render.
        digest: of the pickled Setup, by which a worker recognizes the one that it has loaded.
        threads: of torch, as on the driver.
        versions: the driver's, of the packages that pictures depend on.
    """

    job: Job
    digest: str
    threads: int
    versions: dict[str, str]


@dataclass(frozen=True)
class TaskOutcome:
    """What a worker sends back.

    Attributes:
        records: one per target, if the job was started.
        files: by name in the run folder.
        error: why the worker could not render at all.
        traceback: of an error that is not the package's own.
        lost: why the worker was lost, if it was.
        warnings: Python's warnings during the job.
    """

    records: list[Record] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None
    lost: str | None = None
    warnings: list[str] = field(default_factory=list)


_LOADED: dict[str, tuple[Setup, Callable[[], None]]] = {}
"""The last Setup of this worker process, by digest, with what restores its callbacks: its next job does not load the network again."""


def run_task(task: Task, setup: bytes, checkpoints: Mapping[str, bytes]) -> TaskOutcome:
    """Render a job.

    Args:
        task: what to render.
        setup: the pickled Setup.
        checkpoints: what to resume from, by name in the run folder.
    """
    other = [f"{name} {version}" for name, version in versions().items() if version != task.versions[name]]
    if other:
        mine = ", ".join(f"{name} {version}" for name, version in task.versions.items())
        return TaskOutcome(
            error=f"node {socket.gethostname()} has {', '.join(other)}, the driver {mine}; install the same versions"
        )
    torch.set_num_threads(task.threads)
    with warnings.catch_warnings(record=True) as caught:
        try:
            outcome = _render(task, setup, checkpoints)
        except FeatureVisualizationError as error:
            outcome = TaskOutcome(error=str(error))
        except Exception as error:  # other jobs must not end because of it
            reason = f"{type(error).__name__}: {first_line(error)}"
            if concerns_the_run(error):  # this node's GPU or disk: another node may do better
                outcome = TaskOutcome(lost=f"{reason} on node {socket.gethostname()}")
            else:
                outcome = TaskOutcome(error=reason, traceback=traceback.format_exc())
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    messages = [
        text for text in messages if not text.startswith(f"job {task.job.id} ")
    ]  # the driver reports that one itself
    return replace(outcome, warnings=list(dict.fromkeys(messages)))


def _render(task: Task, pickled: bytes, checkpoints: Mapping[str, bytes]) -> TaskOutcome:
    if task.digest not in _LOADED:
        _LOADED.clear()  # first: two networks may not fit into memory
        try:
            setup: Setup = pickle.loads(pickled)
        except ImportError as error:
            raise UsageError(
                f"node {socket.gethostname()} cannot load the network or the recipe: {error}; install it on all nodes"
            ) from error
        _LOADED[task.digest] = setup, restorer(setup.callbacks)
    setup, restore_callbacks = _LOADED[task.digest]
    restore_callbacks()
    with isolated(), tempfile.TemporaryDirectory(prefix="lightning_fv-") as temporary:
        run = RunFolder(temporary)
        run.create()
        unpack(run, task.job, checkpoints)
        plan = Plan(setup, list(task.job.targets), [task.job], run)
        plan.stop.second = "record"
        with plan.stop, job_renderer(plan, None) as render:
            result = render(task.job)
        # A signal comes from the driver, or from the end of the node: the driver knows which.
        lost = None if result.signal is None else f"it was stopped by {signal.Signals(result.signal).name}"
        return TaskOutcome(result.records, pack(run, task.job), lost=lost)


def versions() -> dict[str, str]:
    """Versions that must be the same on all nodes."""
    return {"lightning_fv": __version__, "torch": torch.__version__.partition("+")[0]}
