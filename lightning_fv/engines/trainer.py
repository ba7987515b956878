"""The Trainer of a job: the user's options, on the one device of this process."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar

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
    chosen["enable_checkpointing"] = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    chosen["plugins"] = [*chosen["plugins"], AtomicCheckpointIO(errors)]
    if run is None or job is None:
        chosen["logger"] = False
    else:
        chosen["default_root_dir"] = str(run)
        if options.get("logger") in (None, True):
            chosen["logger"] = FaultTolerantLogger(job.path, errors)
        elif options["logger"] is not False:
            chosen["logger"] = job_loggers(options["logger"], run, job)
        if options.get("profiler") is not None:
            chosen["profiler"] = job_profiler(options["profiler"], run, job)
    return pl.Trainer(**chosen)


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
        if rank.launcher in ("torchrun", "SLURM") and isinstance(options.get("devices"), int):
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
    devices = options.get("devices")
    if rank.launcher in ("torchrun", "SLURM") and devices in (None, 1):
        devices = "auto"  # the launcher sets the number of processes, and each needs a device
    if rank.ranks == 1:
        if isinstance(devices, str) and "," in devices:
            devices = [int(number) for number in devices.split(",") if number.strip()]
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
    return 1 if options.get("devices") in (None, 1, "1") else len(_all_devices(options).device_ids)


def _all_devices(options: Mapping[str, Any]) -> pl.Trainer:
    return check_trainer({**options, "num_nodes": 1, "strategy": "ddp", "plugins": [RankEnvironment()]})


def check_trainer(options: Mapping[str, Any]) -> pl.Trainer:
    """A Trainer with these options, so that Lightning rejects invalid ones before any work.

    Raises:
        UsageError: Lightning rejects them.
    """
    plain = {"callbacks": None, "logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    try:
        with quiet_lightning():
            return pl.Trainer(**{**options, **plain, "max_epochs": -1, "enable_progress_bar": False})
    except Exception as error:  # Lightning raises many types
        raise UsageError(f"invalid Trainer options: {' '.join(str(error).split())}") from None


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice for training: it does not apply here, and would be repeated for every job."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message in (
                ".*does not have many workers.*",  # the loader yields step numbers
                ".*smaller than the logging interval.*",  # a stage is short
                ".*Checkpoint directory .* exists and is not empty.*",  # a resumed job's is not
                ".*not resumable.*",  # every batch is a function of the step
                ".*dirpath has changed.*",  # a run folder may be moved
                ".*LeafSpec.* is deprecated.*",  # Lightning 2.6 under torch 2.14 and newer
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
