"""Checks everything that could not be checked without a GPU, in less than 10 minutes on one, and writes down what it measures.

    python scripts/check_gpu.py [--quick] [--only NAME] [--out check_gpu.json] [--doc docs/performance.md]

    same      pictures and scores are those of the CPU
    graphs    steps replayed as CUDA graphs give the same pictures
    flow      every flow of the package gets to its end: with and without a folder, growth, a kill, too little memory, all recipes
    waits     no step waits for the device, and the end of a job does not wait for each picture
    speed     milliseconds of a step: redirected and ordinary, in Lightning's loop, several in a batch of it, replayed as a CUDA graph; and of
              the bare forward and backward pass of the network
    memory    what --batch_size auto expects against what a render needs
    job       seconds of a job before, in and after its steps, and of its checkpoints; how busy the device is

A check that fails is written down with its error, and the others go on; so is one for which no time is left. The exit code is the
number of checks that failed. Nothing else should run on the GPU meanwhile.
"""

import argparse
import gc
import json
import math
import platform
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import lightning
import lightning.pytorch as pl
import torch
from gpu_checks import (
    FLOWS,
    CheckError,
    Figures,
    Scale,
    graphs,
    logits,
    precision,
    require,
    same_as_cpu,
    waits_at_the_end,
    waits_in_steps,
)
from timing import REDIRECTED, Clock, Times, bare_pass, classes, ordinary, render_steps, stage_seconds
from torch._C._autograd import DeviceType

from lightning_fv import FeatureVisualizer, load_network, render, resolve_targets
from lightning_fv.engines.batch_size import measured_peaks
from lightning_fv.runs.checkpoints import AtomicCheckpointIO
from lightning_fv.version import __version__

DEVICE = torch.device("cuda:0")
PRECISIONS = ("fp32", "tf32", "bf16")
ACTIVITIES = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
NOT_IMPLEMENTED = ("speed, compiled step",)
"""What the package does not have; once it does, it belongs into `checks`."""


REDIRECTED_STEPS = ordinary(REDIRECTED.start, REDIRECTED.stop)


class OutOfTimeError(Exception):
    """No time is left for a check."""


def speed(scale: Scale, size: int, batch: int, kind: str) -> Figures:
    """A step and the bare pass of one size, batch and precision."""
    network, clock = scale.load(), Clock(DEVICE)
    with precision(kind) as options:
        steps = render_steps(
            network, classes(batch, logits(network)), size, scale.steps, clock, callbacks=(), **options
        )
        step, redirected = steps.times(ordinary(17, scale.steps)), steps.times(REDIRECTED_STEPS)
        found = {"step": step, "redirected": redirected}
        for name, recipe in (("block", {}), ("graph", {"cuda_graph": True})):
            found[name] = stage_seconds(network, classes(batch, logits(network)), size, clock, recipe, **options)
        # The pass has no chunks: where the steps have, it does not fit.
        if steps.chunk is None:
            work = bare_pass(network, batch, size, DEVICE, bf16=kind == "bf16")
            work()
            found["bare"] = Times(tuple(clock.seconds(work) for _ in range(scale.rounds)))
    figures: Figures = {f"{name} ms": times.median * 1e3 for name, times in found.items()}
    figures |= {f"{name} spread": times.spread for name, times in found.items()}
    figures["pictures x steps per second"] = batch / step.median
    if "bare" in found:
        figures["step / bare"] = step.median / found["bare"].median
        figures["graph / bare"] = found["graph"].median / found["bare"].median
    figures["redirected / step"] = redirected.median / step.median
    figures["pictures at a time"] = steps.chunk or batch
    return figures


def memory(scale: Scale, size: int, batch: int) -> Figures:
    """Peak memory that two small passes predict for a batch, and that of a render. Three quarters of the free memory are planned
    with, so that a render may need a third more than predicted."""
    network = scale.load()
    targets = resolve_targets(classes(batch, logits(network)), network)
    (one, least), (four, more) = measured_peaks(FeatureVisualizer(size=size), network, targets, DEVICE)
    predicted = least + (more - least) / (four - one) * (batch - one)
    _release()
    torch.cuda.reset_peak_memory_stats()
    clock = render_steps(network, classes(batch, logits(network)), size, 4, Clock(DEVICE))
    allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    figures: Figures = {"predicted MB": predicted / 1e6, "peak MB": allocated / 1e6, "reserved MB": reserved / 1e6}
    figures |= {"reserved / predicted": reserved / predicted, "pictures at a time": clock.chunk or batch}
    require(allocated <= predicted / 0.75, "the batch size would be chosen too large", figures)
    return figures


def job_seconds(scale: Scale) -> Figures:
    """Where the seconds of a job with a folder go, without the process's start."""
    marks = {"called": time.perf_counter()}
    checkpoints: list[float] = []
    save = AtomicCheckpointIO.save_checkpoint

    class Marks(pl.Callback):
        def __deepcopy__(self, memo: dict[int, Any]) -> "Marks":
            return self

        def settings(self) -> None:
            """None: it changes no picture."""

        def on_train_batch_start(self, *_: Any) -> None:
            marks.setdefault("first step", time.perf_counter())

        def on_train_end(self, *_: Any) -> None:
            torch.cuda.synchronize()
            marks["last step"] = time.perf_counter()

    def timed(*args: Any, **options: Any) -> None:
        start = time.perf_counter()
        save(*args, **options)
        checkpoints.append(time.perf_counter() - start)

    with TemporaryDirectory() as folder, mock.patch.object(AtomicCheckpointIO, "save_checkpoint", timed):
        render(
            scale.load(), "logits:0-7", steps=scale.length, out=Path(folder, "run"), accelerator="cuda", progress=False,
            callbacks=[Marks()],
        )  # fmt: skip
    end = time.perf_counter()
    return {
        "start s": marks["first step"] - marks["called"],
        "steps s": marks["last step"] - marks["first step"],
        "tail s": end - marks["last step"],
        "checkpoints s": sum(checkpoints),
        "checkpoints": len(checkpoints),
    }


def busy_share(scale: Scale, size: int, batch: int) -> Figures:
    """Seconds of kernels over seconds of the wall, in ordinary steps."""
    profiler = torch.profiler.profile(activities=ACTIVITIES)
    wall: list[float] = []

    class Window(pl.Callback):
        def __deepcopy__(self, memo: dict[int, Any]) -> "Window":
            return self

        def settings(self) -> None:
            """None: it changes no picture."""

        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step in (20, 28):
                torch.cuda.synchronize()
                if trainer.global_step == 28:
                    wall.append(time.perf_counter())
                    profiler.stop()
                else:
                    profiler.start()
                    wall.append(time.perf_counter())

    network = scale.load()
    render_steps(network, classes(batch, logits(network)), size, 30, Clock(DEVICE), callbacks=[Window()])
    kernels = sum(
        event.self_device_time_total
        for event in profiler.events() or ()  # type: ignore[no-untyped-call]
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    figures = {"kernels ms": kernels / 1e3 / 8, "wall ms": (wall[1] - wall[0]) * 1e3 / 8}
    require(kernels > 0, "the profiler saw no kernel", figures)
    return figures | {"busy": figures["kernels ms"] / figures["wall ms"]}


def checks(scale: Scale) -> dict[str, Callable[[], Figures]]:
    """All of them by name, the quick ones first."""
    found: dict[str, Callable[[], Figures]] = {
        "same as CPU": partial(same_as_cpu, scale),
        "graphs": partial(graphs, scale),
    }
    found |= {f"flow, {name}": partial(flow, scale) for name, flow in FLOWS.items()}
    found |= {"waits in steps": partial(waits_in_steps, scale), "waits at the end": partial(waits_at_the_end, scale)}
    found |= {"job, seconds": partial(job_seconds, scale)}
    grid = [(size, batch) for size in scale.sizes for batch in scale.batches]
    for size, batch in (grid[0], grid[len(grid) // 2]):
        found[f"job, busy at {size} px x {batch}"] = partial(busy_share, scale, size, batch)
    for size, batch in grid:
        found[f"memory, {size} px x {batch}"] = partial(memory, scale, size, batch)
    for size, batch in sorted(grid, key=lambda cell: cell[0] ** 2 * cell[1]):
        for kind in PRECISIONS:
            found[f"speed, {size} px x {batch}, {kind}"] = partial(speed, scale, size, batch, kind)
    return found


def run(scale: Scale, out: Path, only: str = "", minutes: float = math.inf) -> dict[str, Any]:
    """Run all checks whose names begin with ``only``, print a line for each, and write the results after each."""
    environment = {
        "lightning_fv": __version__, "torch": torch.__version__, "lightning": lightning.__version__,
        "device": torch.cuda.get_device_name(0), "capability": list(torch.cuda.get_device_capability(0)),
        "memory MB": torch.cuda.get_device_properties(0).total_memory / 1e6, "python": platform.python_version(),
        "threads": torch.get_num_threads(), "network": scale.network,
    }  # fmt: skip
    results: dict[str, Any] = {"environment": environment, "checks": {}}
    load_network("demo")
    end = time.monotonic() + 60 * minutes
    for name, check in checks(scale).items():
        if name.startswith(only):
            results["checks"][name] = found = _isolated(check, end)
            print(_line(name, found), flush=True)
            out.write_text(json.dumps(results, indent=1) + "\n")
    for name in NOT_IMPLEMENTED:
        results["checks"][name] = {"status": "not implemented"}
        print(_line(name, results["checks"][name]))
    out.write_text(json.dumps(results, indent=1) + "\n")
    return results


BEGIN, END = "<!-- check_gpu: begin -->\n", "<!-- check_gpu: end -->\n"
"""What the figures of a document stand between."""


def write_figures(results: dict[str, Any], doc: Path) -> None:
    """Put the figures between the two marks of a Markdown document, in the place of what is there.

    Raises:
        ValueError: the document does not have the marks.
    """
    before, begin, rest = doc.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{doc} does not hold the lines {BEGIN.strip()} and {END.strip()}")
    facts = results["environment"]
    lines = [
        f"{facts['device']}, torch {facts['torch']}, {facts['network']} with random weights; `python scripts/check_gpu.py`.",
        "", "| check | | figures |", "|---|---|---|",
    ]  # fmt: skip
    for name, found in results["checks"].items():
        text = "; ".join(f"{key} {_short(value)}" for key, value in found.get("figures", {}).items())
        error = found["error"].splitlines()[0] if found.get("error") else ""
        cell = "; ".join(filter(None, [error, text])).replace("|", "\\|")
        lines.append(f"| {name} | {found['status']} | {cell} |")
    doc.write_text("".join([before, begin, *(f"{line}\n" for line in lines), end, after]))


def _isolated(check: Callable[[], Figures], end: float) -> dict[str, Any]:
    start = time.monotonic()
    try:
        if start > end:
            raise OutOfTimeError("no time is left; give more --minutes, or --only this")
        found: dict[str, Any] = {"status": "ok", "figures": check()}
    except CheckError as error:
        found = {"status": "failed", "error": str(error), "figures": error.figures}
    except OutOfTimeError as error:
        found = {"status": "not run", "error": str(error)}
    except (Exception, SystemExit) as error:
        found = {"status": "failed", "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    found["seconds"] = time.monotonic() - start
    _release()
    return found


def _release() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def _line(name: str, found: dict[str, Any]) -> str:
    figures = [f"{key} {_short(value)}" for key, value in found.get("figures", {}).items() if "spread" not in key]
    error = [found["error"].splitlines()[0][:160]] if found.get("error") else []
    seconds = f"{found['seconds']:6.1f} s" if "seconds" in found else " " * 8
    return f"{found['status']:15} {seconds}  {name:32} {'; '.join([*error, *figures])}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_short(entry)}" for key, entry in value.items()) + ")"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and batches")
    parser.add_argument("--network", default=Scale.network, help="whose speed is measured, with random weights")
    parser.add_argument("--only", default="", help="checks whose names begin with this")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no check is begun")
    parser.add_argument("--out", type=Path, default=Path("check_gpu.json"))
    parser.add_argument("--doc", type=Path, default=None, help="a Markdown document whose figures are replaced")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this machine has no CUDA device, or torch does not see it")
    scale = Scale(network=args.network)
    results = run(scale.quick if args.quick else scale, args.out, args.only, args.minutes)
    if args.doc is not None:
        write_figures(results, args.doc)
    counts = [found["status"] for found in results["checks"].values()]
    print(", ".join(f"{counts.count(status)} {status}" for status in dict.fromkeys(counts)), f"-> {args.out}")
    return counts.count("failed")


if __name__ == "__main__":
    raise SystemExit(main())
