"""Prints operations and waits of a render on the mock device: ``python -m tests.mock_device.count --targets logits:0-7``.

step    operations of an ordinary step by itself; those of a bare pass of the network, forward and backward, with the same
        pictures; their difference is the package's own
block   an ordinary step that follows another without Lightning's loop, as most do by default; the mean over all, with their log
held    bytes that autograd keeps of the network's forward pass, for each picture
end     operations and waits from the last step to the end of the job, with the report
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, render, resolve_targets
from lightning_fv.optimization.dead_units import DEAD_STEPS
from tests.mock_device.cuda import mocked_cuda
from tests.mock_device.ledger import Counts
from tests.mock_device.phases import Phases, StepsOfBlocks
from tests.mock_device.tensors import DeviceState


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="demo")
    parser.add_argument("--no-weights", action="store_true", help="random ones")
    parser.add_argument("--targets", default="logits:0-7")
    parser.add_argument("--steps", type=int, default=DEAD_STEPS + 8)
    parser.add_argument("--lines", type=int, default=12, help="source lines that are printed")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with mocked_cuda() as device, tempfile.TemporaryDirectory() as folder:
        network = load_network(asked.network, weights=None) if asked.no_weights else load_network(asked.network)
        counted = Phases(device)
        recipe = FeatureVisualizer(stage_steps=2)
        rendering = render(
            network, asked.targets, steps=asked.steps, out=Path(folder, "run"), accelerator="cuda", callbacks=[counted],
            progress=False, visualizer=recipe,
        )  # fmt: skip
        counted.close()
        block, mean = operations_in_blocks(device, network, asked.targets)
        bare, held = bare_pass(device, network, asked.targets)
    pictures = len(rendering.records)
    ordinary = {
        step: counts.without("runs/checkpoints.py")
        for step, counts in counted.steps.items()
        if step > 0 and step % 2 == 0
    }
    for name, steps in (
        ("redirected", [counts for step, counts in ordinary.items() if step < recipe.redirect_steps]),
        ("step", [counts for step, counts in ordinary.items() if step > recipe.redirect_steps]),
    ):
        print(f"{name}: {_mean(steps):.0f} operations, {sum(c.waits.total() for c in steps) / len(steps):.2f} waits")
    print(f"  bare pass: {bare.operations.total()} operations; own: {_mean(steps) - bare.operations.total():.0f}")
    print(
        f"  block: {block} operations; own: {block - bare.operations.total()}, mean {mean - bare.operations.total():.1f}"
    )
    print(f"  held: {held / pictures / 1e6:.2f} MB for each of {pictures} pictures")
    _print_lines(steps, asked.lines)
    end = counted.end
    print(f"end: {end.operations.total()} operations, {end.waits.total()} waits for {pictures} pictures")
    for (line, kind), count in end.waits.most_common(asked.lines):
        print(f"  {count:5d}  {line}  {kind}")


def operations_in_blocks(device: DeviceState, network: VisionNetwork, targets: Any) -> tuple[int, float]:
    """Operations of an ordinary step within a block, and their mean over two stages of a run of 128 steps in 16 stages."""
    first, last = 24, 40  # after the steps with redirected gradients
    with StepsOfBlocks(device) as counted:
        render(
            network, targets, steps=last + 1, accelerator="cuda", callbacks=[counted], progress=False,
            visualizer=FeatureVisualizer(stage_steps=8),
        )  # fmt: skip
    counts = [counted.steps[step].operations.total() for step in range(first, last)]
    return counts[1], sum(counts) / len(counts)


def bare_pass(device: DeviceState, network: VisionNetwork, targets: Any) -> tuple[Counts, int]:
    """The network's part of a step: what it counts, and the bytes that its forward pass holds."""
    chosen = resolve_targets(targets, network)
    layers = {layer for target in chosen for layer in target.objective.layers}
    with network.to("cuda").frozen():
        images = torch.rand(len(chosen), network.channels, *network.input_size, device="cuda").requires_grad_()
        network.activations(images, layers)  # the first forward pass prepares what later ones reuse
        before = device.allocated
        with device.ledger.counting() as counts:
            found = list(network.activations(images, layers).values())
            held = device.allocated - before
            torch.autograd.grad(found, images, found)
    return counts, held


def _mean(steps: list[Counts]) -> float:
    return sum(counts.operations.total() for counts in steps) / len(steps)


def _print_lines(steps: list[Counts], most: int) -> None:
    lines = sum((counts.operations for counts in steps), Counter[str]())
    for line, count in lines.most_common(most):
        print(f"  {count / len(steps):7.1f}  {line}")


if __name__ == "__main__":
    main()
