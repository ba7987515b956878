"""Times for the benchmarks: of a function, and of every step of a real render, on any device."""

import argparse
import copy
import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lightning_fv.engines.isolation import Precision, isolated
from lightning_fv.engines.local import LocalEngine
from lightning_fv.engines.plan import Setup, make_plan
from lightning_fv.networks import VisionNetwork
from lightning_fv.optimization.visualizer import FeatureVisualizer

REDIRECTED = range(2, 15)
"""Steps with redirected ReLU gradients (0 to 15) that are timed: the first two make constants and choose kernels."""

LOGGED = 10
"""Every so many steps Lightning logs the objective, and waits for the device."""


@dataclass(frozen=True)
class Clock:
    """Seconds on a device: on a GPU between two CUDA events, which wait for it; on a CPU of the wall, or of this process.

    Attributes:
        device: where the work is done.
        cpu_time: count the seconds that all threads of this process were computing, for machines that are busy otherwise. With
            several threads, that is more than the wall's.
    """

    device: torch.device
    cpu_time: bool = False

    def mark(self) -> Any:
        """A point in time; on a GPU it has come once the device has done all that was asked of it so far. Does not wait."""
        if self.device.type == "cuda" and not self.cpu_time:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            return event
        return time.process_time() if self.cpu_time else time.perf_counter()

    def between(self, start: Any, end: Any) -> float:
        """Seconds between two marks; waits for the device."""
        if isinstance(start, float):
            return float(end - start)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def seconds(self, work: Callable[[], Any]) -> float:
        """Seconds of one call."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        start = self.mark()
        work()
        return self.between(start, self.mark())

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        kind = "process" if self.cpu_time else "CUDA event" if self.device.type == "cuda" else "wall"
        return f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads, {kind} time"


@dataclass(frozen=True)
class Times:
    """Seconds of several measurements of one thing."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.seconds) < 2:
            return float("nan")
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median

    def __str__(self) -> str:
        spread = f" +-{self.spread:.0%}" if len(self.seconds) > 1 else ""
        return f"{self.median * 1e3:.2f} ms{spread}"


def alternating(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Times]:
    """Measure several things in turns, A B A B, so that a machine that slows down slows all of them.

    Args:
        works: each returns the seconds of one measurement.
        rounds: measurements of each; one more, the first, is not counted.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            found[name].append(work())
    return {name: Times(tuple(seconds[1:])) for name, seconds in found.items()}


class StepClock(pl.Callback):
    """Marks the begin of every step of one job; never waits for the device while it runs."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.marks = clock, list[Any]()
        self.chunk: int | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "StepClock":
        return self  # every job copies its callbacks; this one is to be read afterwards

    def settings(self) -> None:
        """None: it changes no picture."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.marks.append(self.clock.mark())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.marks.append(self.clock.mark())
        assert isinstance(pl_module, FeatureVisualizer)
        assert pl_module.chunked_objective is not None
        self.chunk = pl_module.chunked_objective.chunk

    def times(self, steps: Sequence[int]) -> Times:
        """Seconds of these steps, each with all of Lightning's work up to the next one."""
        return Times(tuple(self.clock.between(self.marks[step], self.marks[step + 1]) for step in steps))


def render_steps(
    network: VisionNetwork,
    targets: str,
    size: int,
    steps: int,
    clock: Clock,
    recipe: Mapping[str, Any] | None = None,
    callbacks: Sequence[pl.Callback] = (),
    matmul_precision: Precision = "highest",
    **options: Any,
) -> StepClock:
    """Render targets in one job and in one stage, without a folder, and time its steps.

    Args:
        network: the network.
        targets: as written on the command line.
        size: of the pictures, in pixels.
        steps: optimizer steps.
        clock: measures; the render is on its device.
        recipe: further arguments of the `FeatureVisualizer`.
        callbacks: further ones.
        matmul_precision: as in `lightning_fv.render`.
        options: further ones of the Trainer.
    """
    steps_clock = StepClock(clock)
    visualizer = FeatureVisualizer(size=size, stage_steps=steps, **(recipe or {}))
    options = {"callbacks": [steps_clock, *callbacks], "log_every_n_steps": LOGGED, **options}
    _render(network, targets, steps, clock, visualizer, matmul_precision, options)
    return steps_clock


class StageClock(pl.Callback):
    """Marks the begin of every stage of one job, and never waits for the device."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.marks = clock, list[Any]()

    def __deepcopy__(self, memo: dict[int, Any]) -> "StageClock":
        return self

    def settings(self) -> None:
        """None: it changes no picture."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.marks.append(self.clock.mark())


def stage_seconds(
    network: VisionNetwork,
    targets: str,
    size: int,
    clock: Clock,
    recipe: Mapping[str, Any] | None = None,
    matmul_precision: Precision = "highest",
    **options: Any,
) -> Times:
    """Seconds of a step where nothing asks for each step by itself: means over stages of 16 steps, without the first two.

    Args:
        network, targets, size, clock, recipe, matmul_precision, options: as in `render_steps`.
    """
    length, stages, stage_clock = 16, 6, StageClock(clock)
    visualizer = FeatureVisualizer(size=size, stage_steps=length, **(recipe or {}))
    options = {"callbacks": [stage_clock], "log_every_n_steps": length, **options}
    _render(network, targets, length * stages, clock, visualizer, matmul_precision, options)
    marks = stage_clock.marks[2:]
    return Times(tuple(clock.between(one, two) / length for one, two in pairwise(marks)))


def _render(
    network: VisionNetwork,
    targets: str,
    steps: int,
    clock: Clock,
    visualizer: FeatureVisualizer,
    matmul_precision: Precision,
    options: Mapping[str, Any],
) -> None:
    trainer = {
        "max_steps": steps,
        "accelerator": clock.device.type,
        "devices": 1,
        "enable_progress_bar": False,
        **options,
    }
    with isolated(), redirect_stderr(io.StringIO()):
        setup = Setup(network, visualizer, trainer, matmul_precision=matmul_precision)
        plan = make_plan(setup, targets, batch_size=10**6)
        plan.raise_errors = True
        for result in LocalEngine().run(plan):
            if any(record.status in ("failed", "partial") for record in result.records):
                raise RuntimeError(result.records[0].error or "the render was stopped")


def ordinary(first: int, steps: int) -> list[int]:
    """Steps from the first one on in which Lightning logs nothing."""
    return [step for step in range(first, steps) if (step + 1) % LOGGED]


def bare_module(network: VisionNetwork, device: torch.device) -> nn.Module:
    """A copy of a network of torch's own layers, frozen, in evaluation mode, and channels last."""
    module = copy.deepcopy(network.module).eval().requires_grad_(False)
    return module.to(device).to(memory_format=torch.channels_last)


def bare_pass(
    network: VisionNetwork, batch: int, size: int, device: torch.device, bf16: bool = False
) -> Callable[[], None]:
    """The forward and backward pass to the pictures of a `bare_module`."""
    module = bare_module(network, device)
    pictures = torch.rand(batch, network.channels, size, size, device=device)
    pictures = pictures.contiguous(memory_format=torch.channels_last).requires_grad_()
    rows = torch.arange(batch, device=device)

    def work() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits: Tensor = module(pictures)
        picked = logits[rows, rows % logits.shape[1]].sum()
        torch.autograd.grad(picked, pictures)

    return work


def add_clock_arguments(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--cpu-time``."""
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu, cuda")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count this process's CPU seconds, for a machine that is busy otherwise"
    )


def classes(batch: int, count: int) -> str:
    """Targets of a batch: its first classes, or the only as many as the network has, several times each."""
    if batch <= count:
        return f"logits:0-{batch - 1}"
    if batch % count:
        raise ValueError(f"{batch} pictures of {count} classes")
    return f"logits:0-{count - 1} x{batch // count}"
