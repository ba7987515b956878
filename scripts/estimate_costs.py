"""Estimate the cost of all classes and all channels of a network's convolutions, from steps measured on this machine.

    OMP_NUM_THREADS=1 python scripts/estimate_costs.py [--network torchvision/resnet50] [--passes-per-second 938]

Measures a whole step (transforms, forward pass up to the layer, backward pass, optimizer) per picture at each convolution and
at the logits, with random weights, which cost the same as trained ones; disk and memory come from real runs of the command.
Channels of early layers are cheaper, since the forward pass stops after the layer. The time on another device is scaled by the
number of forward and backward passes of the whole network that it does per second (--passes-per-second); that figure is not
measured here, unless this machine has a GPU.
"""

import argparse
import io
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, resolve_targets
from lightning_fv.engines.plan import STEPS

JOB, START, PER_JOB = 16, 10.0, 0.05
"""Pictures in a job, seconds that a process takes to start, and a job beyond its steps (scripts/benchmark_scaling.py)."""
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def step_seconds(network: VisionNetwork, target: str, batch: int, repeats: int) -> float:
    """Median seconds of a step, per picture."""
    targets = resolve_targets(target, network) * batch
    bound = FeatureVisualizer(redirect_steps=0).bind(network, targets).to(DEVICE)
    optimizer = bound.configure_optimizers()
    values = bound.parameterization.values
    times = []
    with network.frozen():
        for step in range(repeats + 1):
            start = time.perf_counter()
            optimizer.zero_grad()
            bound.loss(step, step).backward()  # type: ignore[no-untyped-call]
            bound.guard.before_step(values)
            optimizer.step()
            bound.guard.after_step(values)
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / batch


def checkpoint_bytes(network: VisionNetwork, batch: int) -> float:
    """Size of a checkpoint per picture: values, two moments, and the last finite values."""
    bound = FeatureVisualizer().bind(network, resolve_targets("logits:0", network) * batch).to(DEVICE)
    optimizer = bound.configure_optimizers()
    bound.loss(0, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    file = io.BytesIO()
    torch.save([bound.state_dict(), optimizer.state_dict()], file)
    return file.tell() / batch


def on_disk(network: str, batch: int) -> tuple[float, float]:
    """Bytes that a finished run leaves on disk per picture, and the process's peak memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "lightning_fv", "--network", network, "--no_weights", "--out", str(run)]
        command += ["--targets", f"logits:0-{batch - 1}", "--batch-size", str(batch), "--trainer.max_steps", "16"]
        command += ["--trainer.enable_progress_bar", "false"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return size / batch, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="torchvision/resnet50")
    parser.add_argument("--batch", type=int, default=4, help="pictures in a measured step")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--passes-per-second", type=float, help="of another device, forward and backward, full network")
    options = parser.parse_args()

    network = load_network(options.network, weights=None)
    network.to(DEVICE)
    whole = step_seconds(network, "logits:0", options.batch, 2 * options.repeats + 1)
    print(f"a step at the logits: {whole * 1000:.0f} ms per picture, {torch.get_num_threads()} thread(s), {DEVICE}")
    stages: dict[str, list[tuple[int, float]]] = {}
    for name, module in network.module.named_modules():
        if isinstance(module, nn.Conv2d):
            seconds = step_seconds(network, f"{name}:0", options.batch, options.repeats)
            stages.setdefault(re.split(r"[.]", name)[0], []).append((module.out_channels, seconds))
    every = [entry for entries in stages.values() for entry in entries]
    for stage, entries in stages.items():
        count = sum(channels for channels, _ in entries)
        part = sum(channels * seconds for channels, seconds in entries) / count / whole
        print(f"  {stage:8} {len(entries):3} convolutions, {count:6} channels, {part:.2f} of a step at the logits")
    channels = sum(count for count, _ in every)
    work = {
        "classes": (len(network.categories) or 1000, 1.0),
        "channels": (channels, sum(count * seconds for count, seconds in every) / channels / whole),
    }
    size, memory = on_disk(options.network, options.batch)
    held = checkpoint_bytes(network, options.batch)
    print(f"on disk: {size / 1e3:.0f} kB per picture, and two checkpoints of {held / 1e6:.1f} MB per picture of a job at work; "
          f"peak memory of a process with a batch of {options.batch}: {memory / 1e9:.2f} GB")  # fmt: skip
    rates = {"this device": 1 / whole}
    if options.passes_per_second:
        rates[f"{options.passes_per_second:g} passes/s"] = options.passes_per_second
    for what, (count, part) in work.items():
        print(f"{count} {what}, {STEPS} steps each: {part:.2f} of a pass on average, {count * size / 1e9:.1f} GB")
        for device, rate in rates.items():
            cells = []
            for devices in (1, 8, 64):
                largest = -(-count // (devices * JOB)) * JOB if count > devices * JOB else -(-count // devices)
                seconds = START + min(largest, count) * STEPS * part / rate + largest / JOB * PER_JOB
                cells.append(f"{seconds / 3600:.2f} h" if seconds > 3600 else f"{seconds / 60:.1f} min")
            print(f"  {device:18} on 1, 8, 64: {', '.join(cells)}")


if __name__ == "__main__":
    main()
