"""Time the pass of photos through a network, against the bare forward passes that it contains.

    python scripts/benchmark_photos.py --photos FOLDER [--network demo] [--layers LAYER ...] [--rounds N]

The pass decodes every photo, records all units of the layers, and keeps them on disk; then the same is asked for again, from the cache.
The bare passes are those of torch's own layers, frozen, channels last, on as many pictures of the network's size, 64 at a time, which are there already.
In turns (A B A B); the first round is not counted.
"""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import torch
from timing import Clock, alternating, bare_module

from lightning_fv.commands.memory import keep_freed_memory
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.photos.activations import photo_activations
from lightning_fv.photos.folder import PhotoFolder

BATCH = 64


def measure(network: VisionNetwork, folder: PhotoFolder, layers: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds of ``pass``, of its ``cache`` and of the ``bare`` passes, by round."""
    clock, module = Clock(torch.device("cpu")), bare_module(network, torch.device("cpu"))
    pictures = torch.rand(BATCH, network.channels, *network.input_size).contiguous(memory_format=torch.channels_last)
    cached: list[float] = []

    def ours() -> float:
        with tempfile.TemporaryDirectory() as cache:
            work = partial(photo_activations, network, folder, layers, cache=Path(cache))
            seconds = clock.seconds(work)
            cached.append(clock.seconds(work))
        return seconds

    def bare() -> float:
        def work() -> None:
            with torch.no_grad():
                for start in range(0, len(folder.entries), BATCH):
                    module(pictures[: len(folder.entries) - start])

        return clock.seconds(work)

    found = alternating({"pass": ours, "bare": bare}, rounds)
    return {name: list(times.seconds) for name, times in found.items()} | {"cache": cached[1:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--network", default="demo")
    parser.add_argument("--layers", nargs="+", default=["layer1", "layer2", "layer3", "layer4", "logits"])
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    keep_freed_memory()  # as every command does
    folder = PhotoFolder(args.photos)
    found = measure(load_network(args.network), folder, args.layers, args.rounds)
    ratios = [a / b for a, b in zip(found["pass"], found["bare"], strict=True)]
    print(f"{Clock(torch.device('cpu'))}; {len(folder.entries)} photos")
    for name, seconds in found.items():
        print(f"{name:6} {statistics.median(seconds):7.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"pass / bare {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
