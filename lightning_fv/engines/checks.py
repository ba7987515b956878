"""What is checked of a run's options before any work: whatever would end a render early, fail in it, or spoil its pictures."""

import importlib.util
import math
import os
from collections.abc import Callable, Iterable
from numbers import Integral
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    OnExceptionCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.profilers import Profiler
from torch import nn
from torch.optim import Optimizer

from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.engines.strategy import strategy_name
from lightning_fv.engines.trainer import check_trainer
from lightning_fv.errors import UsageError, warn
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.capture import LOGITS
from lightning_fv.optimization.coupling import behaviour
from lightning_fv.optimization.schedule import check_schedule

if TYPE_CHECKING:
    from lightning_fv.engines.plan import Setup

MAX_STEPS = 2**31 - 1
"""More steps than anyone waits for; larger numbers overflow in Lightning and in progress bars."""

LEAST_SIDE = 8
"""Pixels of the longer side of a picture, unless the network was trained on smaller ones: fewer are rarely meant."""

MAX_SEED = 2**63 - 1
MAX_SECONDS = 1e9

_LENGTH = "the length of a render is set by trainer.max_steps alone"
_NO_WEIGHTS = "it is for training a network's weights, and a render has none"

_UNUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "fast_dev_run": ((None, False), _LENGTH),
    "limit_train_batches": ((None,), _LENGTH),
    "max_epochs": ((None, -1), _LENGTH),
    "max_time": ((None,), _LENGTH),
    "min_epochs": ((None,), _LENGTH),
    "min_steps": ((None,), _LENGTH),
    "overfit_batches": ((None, 0.0), _LENGTH),
    "barebones": ((None, False), "it would leave out logs and checkpoints"),
    "default_root_dir": ((None,), "the run's folder is given by --out"),
}
"""Options of the Trainer that are not followed: the values that change nothing, and why all others are refused."""

_UNUSED_CALLBACKS: dict[type[Callback], str] = {
    EarlyStopping: _LENGTH,
    Timer: _LENGTH,
    SpikeDetection: _LENGTH,
    BatchSizeFinder: "the batch size is set by --batch_size",
    LearningRateFinder: "the learning rate is set by model.optimizer.init_args.lr",
    OnExceptionCheckpoint: "a run saves checkpoints by itself, every --checkpoint_seconds",
    ThroughputMonitor: "it measures batches of training data, and a render has none",
    BaseFinetuning: _NO_WEIGHTS,
    ModelPruning: _NO_WEIGHTS,
    StochasticWeightAveraging: _NO_WEIGHTS,
    WeightAveraging: _NO_WEIGHTS,
}
"""Lightning's callbacks that are refused, with their subclasses, and why."""


_LOGGERS = (CSVLogger, TensorBoardLogger)


def check_options(setup: "Setup") -> None:
    """Check what needs no target.

    Args:
        setup: what the jobs of the run have in common.

    Raises:
        UsageError: what is wrong, in one line.
    """
    options = setup.options
    _check_numbers(setup)
    _check_size(setup)
    for name, (harmless, reason) in _UNUSED.items():
        if options.get(name) not in harmless:
            raise UsageError(f"trainer.{name} is not supported: {reason}")
    if options.get("precision") not in (None, 32, "32", "32-true", "bf16-mixed"):
        raise UsageError(f"precision {options['precision']!r} would round the pictures; use 32-true or bf16-mixed")
    strategy_name(options.get("strategy"))
    device = check_trainer(setup.trainer_options()).strategy.root_device
    if options.get("deterministic") is True and device.type == "cuda" and len(setup.visualizer.transforms):
        raise UsageError(
            "trainer.deterministic true cannot be followed on a GPU: torch has no deterministic gradient of grid_sample, by "
            "which transforms move pictures; write --trainer.deterministic warn, or render on the CPU: --trainer.accelerator cpu"
        )
    _check_callbacks(setup)
    for part in (*_as_list(options.get("logger")), options.get("profiler")):
        kind = type(part)
        if isinstance(part, Logger) and kind.__module__.startswith("lightning.") and kind not in _LOGGERS:
            names = " and ".join(logger.__name__ for logger in _LOGGERS)
            raise UsageError(
                f"{kind.__name__} would write outside of the run folder; of Lightning's loggers, use {names}"
            )
        if isinstance(part, Logger | Profiler):
            _check_inside(part)
    if any(isinstance(plugin, CheckpointIO) for plugin in _as_list(options.get("plugins"))):
        raise UsageError(
            "trainer.plugins must not hold a CheckpointIO: a run writes its checkpoints atomically by its own"
        )
    _check_optimizer(setup.visualizer.optimizer)
    check_schedule(setup.visualizer.optimizer, setup.visualizer.lr_scheduler, options["max_steps"])
    found = behaviour(setup.visualizer.optimizer)
    if found.evaluates and (setup.shared or options.get("accumulate_grad_batches", 1) != 1):
        raise UsageError(
            f"{found.name} evaluates the objective several times in a step, which neither ddp nor accumulate_grad_batches can "
            "follow; leave them out"
        )


def check_categories(network: VisionNetwork) -> None:
    """Check that a network has as many class names as logits, or none.

    Raises:
        UsageError: it has fewer or more.
    """
    shape = next((info.shape for info in network.layers() if info.name == LOGITS), None)
    names = len(network.categories)
    if names and shape is not None and len(shape) == 2 and shape[1] != names:
        raise UsageError(
            f"{network.name} has {shape[1]} classes, but {names} class name{'s' * (names > 1)}; "
            f"give {shape[1]} names (--categories), in the order of the logits, or none"
        )


def warn_of_doubtful(setup: "Setup") -> None:
    """Warn of penalties that reward, which are rarely meant."""
    for penalty in setup.visualizer.penalties:
        if (weight := getattr(penalty, "weight", 0)) < 0:
            warn(
                f"the penalty {type(penalty).__name__} has the negative weight {weight:g}: it rewards what it measures"
            )


def _check_size(setup: "Setup") -> None:
    """Refuse pictures of fewer than `LEAST_SIDE` px where pixels were asked for; warn where a fraction of a small network's size was."""
    asked, size = setup.visualizer.asked_size, setup.visualizer.size_for(setup.network)
    least = min(LEAST_SIDE, max(setup.network.input_size))
    if asked is None or max(size) >= least:
        return
    told = f"the size {asked} gives pictures of {size[0]}x{size[1]} px"
    if isinstance(asked, float):  # such as the start of pictures that grow
        warn(told)
        return
    hint = f", or {float(asked)} for {asked} times the network's training size" if isinstance(asked, int) else ""
    raise UsageError(
        f"{told}, in which nothing can be seen; give at least {least} pixels{hint} (--model.size, size= in Python)"
    )


def _check_numbers(setup: "Setup") -> None:
    options = setup.options
    steps, batches = options["max_steps"], options.get("accumulate_grad_batches", 1)
    if not _is_whole(steps) or not 1 <= steps <= MAX_STEPS:
        bound = f"at most {MAX_STEPS}" if _is_whole(steps) and steps > 0 else "at least 1"
        raise UsageError(
            f"the length of a render, trainer.max_steps (steps= in Python), must be {bound}, got {_short(steps)}"
        )
    if not _is_whole(batches) or not 1 <= batches <= MAX_STEPS:
        raise UsageError(f"trainer.accumulate_grad_batches must be at least 1, got {_short(batches)}")
    clip = options.get("gradient_clip_val")
    if clip is not None and not 0 <= clip < math.inf:
        raise UsageError(
            f"trainer.gradient_clip_val must be a finite number of at least 0, or null, got {_short(clip)}"
        )
    if not _is_whole(setup.seed) or not 0 <= setup.seed <= MAX_SEED:
        raise UsageError(f"the seed must be a whole number from 0 to {MAX_SEED}, got {_short(setup.seed)}")
    if not 0 < setup.checkpoint_seconds <= MAX_SECONDS:
        bound = f"at most {MAX_SECONDS:g} s" if setup.checkpoint_seconds > 0 else "above 0 s"
        raise UsageError(f"the time between checkpoints must be {bound}, got {setup.checkpoint_seconds}")


def _check_callbacks(setup: "Setup") -> None:
    start, reference = setup.visualizer.size_for(setup.network), setup.network.input_size
    for callback in setup.callbacks:
        name = type(callback).__name__
        if not isinstance(callback, Callback):
            found = f"the class {callback.__name__}; give an instance of it" if isinstance(callback, type) else name
            raise UsageError(f"trainer.callbacks must be Callbacks, got {found}")
        for kind, reason in _UNUSED_CALLBACKS.items():
            if isinstance(callback, kind):
                raise UsageError(f"the callback {name} cannot be used: {reason}; leave it out")
        if isinstance(callback, DeviceStatsMonitor) and importlib.util.find_spec("psutil") is None:
            raise UsageError("the callback DeviceStatsMonitor needs psutil; install it: pip install psutil")
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:  # Lightning makes it absolute
            raise UsageError(
                f"{name} would write to {callback.dirpath}: what a run writes stays inside its folder; leave dirpath out, "
                "and each job has a folder for it"
            )
        if isinstance(callback, ProgressiveUpscale) and setup.shared:
            raise UsageError(
                "ProgressiveUpscale cannot grow pictures that several devices share; use --trainer.strategy independent "
                "or leave out the callback"
            )
        if isinstance(callback, PeriodicBlur | ProgressiveUpscale):
            callback.check(start, reference)
            blurs = isinstance(callback, PeriodicBlur) or callback.blur > 0
            if blurs and not setup.visualizer.parameterization.can_blur:
                pictures = type(setup.visualizer.parameterization).__name__
                remedy = "leave out" if isinstance(callback, PeriodicBlur) else "set blur to 0 in"
                raise UsageError(f"{pictures} pictures cannot be blurred: {remedy} {name}")


def _check_inside(part: Logger | Profiler) -> None:
    """Refuse a logger or profiler that would write outside of the run folder."""
    for attribute, value in vars(part).items():
        if attribute.lstrip("_") not in ("dirpath", "save_dir", "root_dir", "name", "version", "sub_dir", "filename"):
            continue
        if not isinstance(value, str | os.PathLike):
            continue
        path = PurePath(value)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "://" in str(value)
            or str(value).startswith("~")
            or "$" in str(value)
        ):
            raise UsageError(
                f"{type(part).__name__} would write to {value}: what a run writes stays inside its folder; "
                f"give {attribute.lstrip('_')} as a relative path without .., or leave it out"
            )


def _check_optimizer(make: Callable[[Iterable[Any]], Optimizer]) -> None:
    try:
        optimizer = make([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:  # what an optimizer raises for its arguments
        raise UsageError(f"model.optimizer: {' '.join(str(error).split())}") from error
    if not isinstance(optimizer, Optimizer):
        raise UsageError(f"model.optimizer must make an Optimizer, not an object of type {type(optimizer).__name__}")
    name = type(optimizer).__name__
    for group in optimizer.param_groups:
        rate = group.get("lr")
        if rate is not None and not 0 < float(rate) < math.inf:
            raise UsageError(
                f"model.optimizer: the learning rate of {name} must be finite and above 0, got {float(rate):g}"
            )
        for option, value in group.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"model.optimizer: {option} of {name} must be finite, got {value}")


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _short(value: object) -> str:
    """A value for a message; thousands of digits would hide what it says."""
    if isinstance(value, int) and abs(value) >= 10**30:  # Python refuses to write numbers of more than 4300 digits
        return f"a number of about {int(math.log10(abs(value))) + 1} digits"
    return str(value)


def _as_list(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
