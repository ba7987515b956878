"""Measure what a render step costs beyond the bare network pass that it contains.

    python scripts/benchmark_step.py [--steps N] [--rounds N]

The overhead ("own work") is timed directly: the whole loop (Lightning, transforms, parameterization, optimizer, callbacks,
logging) around a network that costs nothing, relative to the bare forward and backward pass, to the picture, of the real frozen
network in the same memory format. Whole steps are timed too, alternating with these; their ratio to the pass is noisy where the
network takes most of the time.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from typing import Any

import lightning.pytorch as pl
import torch
import torchvision
from torch import Tensor, nn

from lightning_fv.engines.plan import STEPS, Setup, make_plan
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.optimization.stages import STAGES
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.folder import RunFolder


class Free(nn.Module):
    """A network that returns as many logits as the real one, with a gradient, at no cost."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0].flatten(1)[:, : self.classes]


class Clock(pl.Callback):
    """Seconds per step over the second half of the fit, stage ends included; the first half is the warm-up."""

    def __init__(self) -> None:
        self.start = self.seconds = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == trainer.max_steps // 2:
            self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start

    def __deepcopy__(self, memo: dict[int, Any]) -> "Clock":
        return self  # every job copies its callbacks; this one is to be read afterwards


def step_seconds(network: VisionNetwork, targets: str, size: int, steps: int) -> float:
    """Seconds per step of the real loop with run folder and TensorBoard; stages are as long as in a default render."""
    clock, recipe = Clock(), FeatureVisualizer(size=size, stage_steps=STEPS // STAGES)
    options = {"max_steps": steps, "callbacks": [clock], "accelerator": "cpu", "log_every_n_steps": 10}
    setup = Setup(network, recipe, options)
    plan = make_plan(setup, targets, batch_size=64)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):  # the bar's text
        plan.folder = RunFolder(folder)
        plan.folder.create()
        plan.folder.register(plan.jobs)
        for _ in WorkerEngine().run(plan):
            pass
    return clock.seconds / (steps - steps // 2)


def pass_seconds(network: VisionNetwork, batch: int, size: int, repeats: int) -> float:
    """Median seconds of the bare forward and backward pass to the input."""
    with network.frozen():
        x = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
        rows = torch.arange(batch)
        times = []
        for _ in range(repeats + 2):
            start = time.perf_counter()
            network.module(x)[rows, rows].sum().backward()
            x.grad = None
            times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2 * STEPS, help="steps of a render around the free network")
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often A B is repeated; the ratios are medians over rounds"
    )
    args = parser.parse_args()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    resnet50 = VisionNetwork(torchvision.models.resnet50(), mean=mean, std=std, name="resnet50")
    demo = load_network("demo")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.rounds} rounds")
    print("network    px batch  bare pass  own work  own/bare  (limit)  whole step  step/bare")
    for network, size, batch, limit in ((resnet50, 224, 1, 0.06), (resnet50, 64, 16, 0.08), (demo, 64, 8, 0.30)):
        free = VisionNetwork(Free(24), mean=mean, std=std)
        targets = f"logits:0-{batch - 1}"
        real_steps = STEPS if network is demo else 32
        bare, own, whole = [], [], []
        for _ in range(args.rounds):
            bare.append(pass_seconds(network, batch, size, 10))
            own.append(step_seconds(free, targets, size, args.steps))
            whole.append(step_seconds(network, targets, size, real_steps))
        ratio = statistics.median(o / b for o, b in zip(own, bare, strict=True))
        step_ratio = statistics.median(w / b for w, b in zip(whole, bare, strict=True))
        b, o, w = (statistics.median(times) * 1e3 for times in (bare, own, whole))
        print(
            f"{network.name:8} {size:4} {batch:5} {b:8.1f}ms {o:7.2f}ms {ratio:9.1%}  {limit:7.0%} {w:9.1f}ms {step_ratio:10.2f}",
            flush=True,
        )
    ratios = [
        step_seconds(resnet50, "layer1:0", 224, 32) / pass_seconds(resnet50, 1, 224, 10) for _ in range(args.rounds)
    ]
    print(
        f"whole step for a channel of resnet50's layer1 at 224 px: {statistics.median(ratios):.2f} of the full pass (limit 0.35)"
    )


if __name__ == "__main__":
    main()
