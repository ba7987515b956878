"""Connecting to a Ray cluster, and how many jobs fit on it."""

import contextlib
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_fv.engines.signals import HANGUP, NUMBERS
from lightning_fv.errors import UsageError, first_line


@dataclass(frozen=True)
class RayOptions:
    """Where ``--engine ray`` renders, and the resources that a job takes.

    Args:
        address: HOST:PORT of a running cluster's head, or auto for the one that this machine belongs to; by default
            Ray is started on this machine, and stopped at the end
        gpus_per_job: share of a GPU, 0 to 1; default: 1 where the cluster has GPUs, else 0
        cpus_per_job: CPU cores that a job takes, and its threads unless OMP_NUM_THREADS is set

    Raises:
        UsageError: a number or an address that cannot be used.
    """

    address: str | None = None
    gpus_per_job: float | None = None
    cpus_per_job: float = 1.0

    def __post_init__(self) -> None:
        if self.gpus_per_job is not None and not 0 <= self.gpus_per_job <= 1:
            raise UsageError(f"--ray.gpus_per_job {self.gpus_per_job:g}: a job renders on one device; give 0 to 1")
        if self.cpus_per_job <= 0 or (self.cpus_per_job > 1 and self.cpus_per_job % 1):
            raise UsageError(f"--ray.cpus_per_job {self.cpus_per_job:g}: give a whole number, or a fraction above 0")
        if self.address is not None and "://" in self.address:
            raise UsageError(
                f"--ray.address {self.address}: give HOST:PORT of the cluster's head, from a machine of the cluster"
            )


def check_ray(options: RayOptions, trainer: Mapping[str, Any]) -> None:
    """Check before any work that Ray is installed, its address answers, and no other devices are asked for.

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
            "the cluster's size determines how many jobs run"
        )
    if options.address is not None and ":" in options.address:
        host, _, port = options.address.rpartition(":")
        try:
            socket.create_connection(
                (host.strip("[]"), int(port)), timeout=10
            ).close()  # Ray itself retries for minutes
        except (OSError, ValueError, OverflowError) as error:
            raise UsageError(
                f"--ray.address {options.address}: no answer ({error}); give the HOST:PORT that ray start --head printed"
            ) from None


@contextlib.contextmanager
def cluster(options: RayOptions, trainer: Mapping[str, Any]) -> Iterator[None]:
    """Connect for a block to the cluster, or to a Ray that is started on this machine.

    Args:
        options: where to render.
        trainer: the Trainer's keyword arguments.

    Raises:
        UsageError: the cluster does not exist or has another Ray or Python, or this machine is too small for a job.
    """
    import ray
    import ray._private.ray_constants as ray_constants
    import ray._private.worker as ray_worker

    local = options.address is None
    main_thread = threading.current_thread() is threading.main_thread()
    before = [signal.getsignal(number) for number in NUMBERS]
    loud, ray_worker._worker_logs_enabled = (
        getattr(ray_worker, "_worker_logs_enabled", True),
        False,
    )  # raylets' notes on stdout
    reachable = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    usage = os.environ.get("RAY_USAGE_STATS_ENABLED")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if local:
                os.environ.setdefault(
                    "RAY_USAGE_STATS_ENABLED", "0"
                )  # no usage reports to Ray's makers unless the user asks for them
                ray_constants.ENABLE_RAY_CLUSTER = False  # all ports on the loopback interface, as by default on macOS
                if main_thread and HANGUP is not None:
                    signal.signal(
                        HANGUP, signal.SIG_IGN
                    )  # in Ray's processes: this one stops them when its terminal closes
            try:
                ray.init(
                    address=options.address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({"include_dashboard": False} if local else {}),
                )
            except Exception as error:  # of many kinds: no cluster, another version, a full disk, called twice
                place = "on this machine" if local else f"at --ray.address {options.address}"
                raise UsageError(f"cannot connect to Ray {place}: {first_line(error)}") from None
            finally:
                ray_constants.ENABLE_RAY_CLUSTER = reachable
                if main_thread:
                    for number, handler in zip(NUMBERS, before, strict=True):
                        signal.signal(number, handler)  # Ray installs its own for SIGTERM and leaves it there
        try:
            share = share_of(options, trainer)
            if local and not places_for(share):
                raise UsageError(
                    f"this machine is too small for a job of {share[0]:g} CPUs and {share[1]:g} GPUs; "
                    "ask for less with --ray.cpus_per_job and --ray.gpus_per_job, or connect with --ray.address"
                )
            yield
        finally:
            ray.shutdown()
    finally:
        ray_worker._worker_logs_enabled = loud
        if usage is None:
            os.environ.pop("RAY_USAGE_STATS_ENABLED", None)


def share_of(options: RayOptions, trainer: Mapping[str, Any]) -> tuple[float, float]:
    """(CPUs, GPUs) that a job takes."""
    import ray

    gpus = options.gpus_per_job
    if gpus is None:
        gpus = 1.0 if trainer.get("accelerator") != "cpu" and ray.cluster_resources().get("GPU") else 0.0
    return options.cpus_per_job, gpus


def places_for(share: tuple[float, float]) -> int:
    """How many jobs fit on the current nodes."""
    import ray

    places = 0
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            fits = [
                int(resources.get(name, 0) / part) for name, part in zip(("CPU", "GPU"), share, strict=True) if part
            ]
            places += min(fits, default=0)
    return places
