"""The Trainer of a job: the user's options, on the one device of this process."""

import re
import weakref
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Checkpoint, ProgressBar

from lightning_fv.engines.logger import FaultTolerantLogger, job_loggers, job_profiler
from lightning_fv.engines.rank import RankInfo
from lightning_fv.engines.strategy import RankEnvironment, SharedStrategy
from lightning_fv.errors import UsageError
from lightning_fv.runs.checkpoints import AtomicCheckpointIO
from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job_folder import JobFolder


def make_trainer(
    options: Mapping[str, Any],
    callbacks: list[pl.Callback],
    run: RunFolder | None,
    job: JobFolder | None,
    errors: WriteErrors,
) -> pl.Trainer:
    """The Trainer of a job: the user's options with the callbacks, the job's logger and atomic checkpoints.

    Args:
        options: from `trainer_options`.
        callbacks: all of them.
        run, job: where to write; None to leave nothing on disk.
        errors: records what cannot be written.
    """
    chosen = {**options, "callbacks": callbacks, "max_epochs": -1, "enable_model_summary": False}
    chosen["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    chosen["enable_checkpointing"] = any(isinstance(callback, Checkpoint) for callback in callbacks)
    chosen["plugins"] = [*chosen["plugins"], AtomicCheckpointIO(errors, None if job is None else job.checkpoints)]
    if run is None or job is None:
        chosen["logger"] = False
    else:
        chosen["default_root_dir"] = str(run)
        if options.get("logger") in (None, True):
            chosen["logger"] = FaultTolerantLogger(job.path, errors)
        elif options["logger"] is not False:
            chosen["logger"] = job_loggers(options["logger"], job)
        if options.get("profiler") is not None:
            chosen["profiler"] = job_profiler(options["profiler"], job)
    return _without_signals(pl.Trainer(**chosen))


def _without_signals(trainer: pl.Trainer) -> pl.Trainer:
    """Keep a Trainer from setting signal handlers: `StopSignals` does.

    Its own would end a fit on SIGTERM without a checkpoint, and when it restores what Python knows of all signals, handlers
    set outside of Python are lost, such as those of ``faulthandler``.
    """
    for part in vars(trainer).values():
        if hasattr(part, "register_signal_handlers"):
            part.register_signal_handlers = lambda: None
    return trainer


def trainer_options(options: Mapping[str, Any], rank: RankInfo, shared: bool, port: int | None) -> dict[str, Any]:
    """The Trainer's options for the one device of this process.

    Args:
        options: the user's.
        rank: of this process.
        shared: whether all processes share one job (ddp).
        port: of rank 0 on this machine, if this package started the ranks.
    """
    chosen = {**options, "num_nodes": 1, "plugins": _as_list(options.get("plugins"))}
    if shared:
        chosen["devices"] = "auto" if (asked := _asked_devices(options)) is None else asked
        if rank.launcher in ("torchrun", "SLURM") and isinstance(chosen["devices"], int):
            chosen["devices"] = "auto"  # the launcher sets the number of ranks; each takes the device of its local rank
        chosen["strategy"] = SharedStrategy()
        chosen["plugins"].append(RankEnvironment(rank, port))
        return chosen
    strategy = options.get("strategy")
    chosen["strategy"] = "auto" if strategy is None or isinstance(strategy, str) else strategy
    chosen["plugins"].append(RankEnvironment())  # to the Trainer a worker is a single process, whatever started it
    chosen["devices"] = _own_device(options, rank)
    return chosen


def _own_device(options: Mapping[str, Any], rank: RankInfo) -> Any:
    """The device of this process among those asked for: by its local rank; if processes outnumber devices, they share."""
    devices = _asked_devices(options)
    if rank.launcher in ("torchrun", "SLURM") and devices in (None, 1):
        devices = "auto"  # the launcher sets the number of processes, and each needs a device
    if rank.ranks == 1:
        return [devices[0]] if isinstance(devices, list | tuple) and devices else 1
    trainer = _all_devices({**options, "devices": devices})
    if isinstance(trainer.accelerator, CPUAccelerator):
        return 1
    return [trainer.device_ids[rank.local_rank % len(trainer.device_ids)]]


def count_devices(options: Mapping[str, Any]) -> int:
    """How many devices of this machine the Trainer's options ask for.

    Raises:
        UsageError: the machine does not have them.
    """
    devices = _asked_devices(options)
    return 1 if devices in (None, 1) else len(_all_devices({**options, "devices": devices}).device_ids)


def _asked_devices(options: Mapping[str, Any]) -> Any:
    """The devices that are asked for; those written as text as Lightning understands it: ``"8"`` are eight, ``"0,2"`` two.

    Raises:
        UsageError: the text says nothing of the kind.
    """
    devices = options.get("devices")
    if not isinstance(devices, str) or devices == "auto":
        return devices
    try:
        numbers = [int(number) for number in devices.removesuffix(",").split(",")]
    except ValueError:
        raise UsageError(
            f"trainer.devices {devices!r} is not understood; give a number of devices, their numbers as in 0,2, or auto"
        ) from None
    return numbers if "," in devices else numbers[0]


def _all_devices(options: Mapping[str, Any]) -> pl.Trainer:
    return check_trainer({**options, "num_nodes": 1, "strategy": "ddp", "plugins": [RankEnvironment()]})


def check_trainer(options: Mapping[str, Any]) -> pl.Trainer:
    """A Trainer with these options, so that Lightning rejects invalid ones before any work.

    Raises:
        UsageError: Lightning rejects them.
    """
    plain = {"callbacks": None, "logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    try:
        return pl.Trainer(**{**options, **plain, "max_epochs": -1, "enable_progress_bar": False})
    except Exception as error:  # Lightning raises many types
        told = " ".join(str(error).split()).rstrip(".!")
        if re.search("devices|accelerator|backend", told):
            told += "; leave out trainer.devices and trainer.accelerator to use what this machine has"
        raise UsageError(f"invalid Trainer options: {told}") from None


def release(trainer: pl.Trainer) -> None:
    """Let a Trainer that has ended be freed, with its pictures, as soon as nothing outside refers to it any more.

    Its own parts refer back to it: without this, only Python's garbage collection would end that circle, which may come
    hundreds of jobs later. From now on they refer to it weakly, so that it can still be inspected. Callbacks lose the methods
    of the module that it gave them.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for name in ("log", "log_dict"):
            vars(callback).pop(name, None)
    module: pl.LightningModule | None = trainer.lightning_module
    if module is not None:
        module.trainer = weakref.proxy(trainer)
    parts: list[Any] = [trainer]
    while parts:
        part = parts.pop()
        for name, value in list(vars(part).items()):
            if value is trainer:
                setattr(part, name, weakref.proxy(trainer))
            elif type(value).__module__.startswith("lightning.pytorch.") and _refers_to(value, trainer):
                parts.append(value)


def _refers_to(part: Any, trainer: pl.Trainer) -> bool:
    return any(value is trainer for value in getattr(part, "__dict__", {}).values())


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
