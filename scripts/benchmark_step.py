"""Measure what a render step costs beyond the bare network pass that it contains.

    python scripts/benchmark_step.py [--device cuda] [--cpu-time] [--steps N] [--rounds N]
    python scripts/benchmark_step.py --redirected --cpu-time    # steps 2 to 14 with redirected ReLU gradients over the same without

The overhead ("own work") is timed directly: the whole loop (Lightning, transforms, parameterization, optimizer, callbacks,
logging) around a network that costs nothing, relative to the bare forward and backward pass, to the picture, of the real
network as torch runs it, frozen and in the same memory format. Whole steps are timed too, alternating with these; their ratio to the pass is noisy where the
network takes most of the time.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
import torchvision
from timing import REDIRECTED, Clock, add_clock_arguments, alternating, bare_pass, ordinary, render_steps
from torch import Tensor, nn

from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.plan import STEPS, Setup, make_plan
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.optimization.stages import STAGES
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.folder import RunFolder


class Free(nn.Module):
    """A network that returns as many logits as the real one, at no cost.

    Its gradients are noise from a pool. Those of a function of the pictures would drive them into saturation, where gradients
    vanish, and arithmetic with their squares, which are denormal, takes several times as long.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self._pool: list[Tensor] = []
        self._given = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self._pool or self._pool[0].shape != x.shape or self._pool[0].device != x.device:
            # Of about the size of real ones, laid out as they are.
            generator = torch.Generator(x.device).manual_seed(0)
            drawn = [torch.randn(x.shape, generator=generator, device=x.device) for _ in range(8)]
            self._pool = [(1e-2 * values).contiguous(memory_format=torch.channels_last) for values in drawn]
        self._given += 1
        logits: Tensor = FreeGradient.apply(x, self._pool[self._given % len(self._pool)], self.classes)
        return logits


class FreeGradient(torch.autograd.Function):
    """Logits (B, classes) of pictures (B, C, H, W), with a given gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, classes: int) -> Tensor:
        ctx.gradient = gradient
        return x[:, 0].flatten(1)[:, :classes].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.gradient, None, None


class SecondHalf(pl.Callback):
    """Seconds per step over the second half of the fit, stage ends included; the first half is the warm-up."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.seconds = clock, 0.0
        self._start: Any = None
        self._first = 0

    def settings(self) -> None:
        """None: it changes no picture."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step >= trainer.max_steps // 2 and self._start is None:
            self._start, self._first = self.clock.mark(), trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._start is not None:
            self.seconds = self.clock.between(self._start, self.clock.mark()) / (trainer.global_step - self._first)

    def __deepcopy__(self, memo: dict[int, Any]) -> "SecondHalf":
        return self  # every job copies its callbacks; this one is to be read afterwards


@isolated()
def step_seconds(network: VisionNetwork, targets: str, size: int, steps: int, clock: Clock) -> float:
    """Seconds per step of the real loop with run folder and TensorBoard; stages are as long as in a default render."""
    half, recipe = SecondHalf(clock), FeatureVisualizer(size=size, stage_steps=STEPS // STAGES)
    options = {"max_steps": steps, "callbacks": [half], "accelerator": clock.device.type, "log_every_n_steps": 8}
    setup = Setup(network, recipe, options)
    plan = make_plan(setup, targets, batch_size=64)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):  # the bar's text
        plan.folder = RunFolder(folder)
        plan.folder.create()
        plan.folder.register(plan.jobs)
        for _ in WorkerEngine().run(plan):
            pass
    return half.seconds


def pass_seconds(network: VisionNetwork, batch: int, size: int, repeats: int, clock: Clock) -> float:
    """Median seconds of the bare forward and backward pass to the input."""
    work = bare_pass(network, batch, size, clock.device)
    for _ in range(2):
        work()
    return statistics.median(clock.seconds(work) for _ in range(repeats))


def redirected(network: VisionNetwork, size: int, batch: int, rounds: int, clock: Clock) -> None:
    """Print what redirected ReLU gradients add to a step: the same steps with and without them, in turns."""

    def seconds(redirect_steps: int) -> float:
        recipe = {"redirect_steps": redirect_steps}
        timed = render_steps(network, f"logits:0-{batch - 1}", size, REDIRECTED.stop, clock, recipe)
        return timed.times(ordinary(REDIRECTED.start, REDIRECTED.stop)).median

    found = alternating({"plain": partial(seconds, 0), "redirected": partial(seconds, 16)}, rounds)
    plain, with_redirection = found["plain"], found["redirected"]
    ratios = [a / b for a, b in zip(with_redirection.seconds, plain.seconds, strict=True)]
    print(
        f"{network.name:20} {size:4} {batch:5}  {plain!s:>20} {with_redirection!s:>20} {statistics.median(ratios):6.2f} "
        f"[{min(ratios):.2f}, {max(ratios):.2f}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2 * STEPS, help="steps of a render around the free network")
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often A B is repeated; the ratios are medians over rounds"
    )
    parser.add_argument("--redirected", action="store_true", help="only what redirected ReLU gradients add to a step")
    add_clock_arguments(parser)
    args = parser.parse_args()
    clock = Clock(args.device, args.cpu_time)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    resnet50 = VisionNetwork(torchvision.models.resnet50(), mean=mean, std=std, name="resnet50")
    demo = load_network("demo")
    print(f"{clock}, {args.rounds} rounds")
    if args.redirected:
        vit = load_network("torchvision/vit_b_16", weights=None)
        print("network                px batch                 plain           redirected  ratio")
        for network, size, batch in ((resnet50, 128, 1), (resnet50, 64, 16), (demo, 64, 8), (vit, 64, 8)):
            redirected(network, size, batch, args.rounds, clock)
        return
    print("network    px batch  bare pass  own work  own/bare  (limit)  whole step  step/bare")
    for network, size, batch, limit in ((resnet50, 224, 1, 0.03), (resnet50, 64, 16, 0.03), (demo, 64, 8, 0.15)):
        free = VisionNetwork(Free(24), mean=mean, std=std)
        targets = f"logits:0-{batch - 1}"
        real_steps = STEPS if network is demo else 32
        bare, own, whole = [], [], []
        for _ in range(args.rounds):
            bare.append(pass_seconds(network, batch, size, 10, clock))
            own.append(step_seconds(free, targets, size, args.steps, clock))
            whole.append(step_seconds(network, targets, size, real_steps, clock))
        ratio = statistics.median(o / b for o, b in zip(own, bare, strict=True))
        step_ratio = statistics.median(w / b for w, b in zip(whole, bare, strict=True))
        b, o, w = (statistics.median(times) * 1e3 for times in (bare, own, whole))
        print(
            f"{network.name:8} {size:4} {batch:5} {b:8.1f}ms {o:7.2f}ms {ratio:9.1%}  {limit:7.0%} {w:9.1f}ms {step_ratio:10.2f}",
            flush=True,
        )
    ratios = [
        step_seconds(resnet50, "layer1:0", 224, 32, clock) / pass_seconds(resnet50, 1, 224, 10, clock)
        for _ in range(args.rounds)
    ]
    print(
        f"whole step for a channel of resnet50's layer1 at 224 px: {statistics.median(ratios):.2f} of the full pass (limit 0.35)"
    )


if __name__ == "__main__":
    main()
