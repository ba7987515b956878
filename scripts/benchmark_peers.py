"""Seconds of a step per target, against Lucent, torch-dreams and Horama, and against the bare forward and backward pass.

The others are no dependencies of this package. They go into a throw-away environment beside it, where their pins (Lucent: kornia
0.4.1) need not be kept; PACKAGE_PYTHON is the Python in which this package is installed:

    python -m venv /tmp/peers
    PACKAGE_PYTHON -c "import site; print(site.getsitepackages()[0])" > $(ls -d /tmp/peers/lib/python3*/site-packages)/package.pth
    /tmp/peers/bin/pip install --no-deps torch-lucent==0.1.8 torch-dreams==4.0.0 horama==0.3.0 einops decorator opencv-python-headless
    /tmp/peers/bin/pip install ipython
    PYTHONPATH=. OMP_NUM_THREADS=1 /tmp/peers/bin/python scripts/benchmark_peers.py --cpu-time

Two names that kornia has moved since are put back for Lucent, in this process alone. Horama imports einops without saying so.

    ... scripts/benchmark_peers.py --cpu-time --as-documented

compares whole renders with Lucent as its README uses it: weights that are not frozen, pictures upsampled to 224 px, the network run to
its end. Each of our steps counts, in the proportion of a render of 128: 16 have redirected gradients.

All have the same network (ResNet50, random weights, no gradients for them), the same targets (logits), the same size and the same
number of steps, and everything else as they have it by default. So they do not do the same: what the network sees is larger or
smaller than asked (the column `seen`: pixels of its input, all crops together, over those of a picture of the asked size).
The bare pass is that of torch's own layers, frozen, in channels-last format.
Horama renders one target in a call, and needs two crops at least. A step lasts from the network's forward pass to the next one.
"""

import argparse
import contextlib
import copy
import io
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from timing import Clock, add_clock_arguments, alternating, bare_pass, ordinary, render_steps
from torch import Tensor, nn

from lightning_fv import VisionNetwork
from lightning_fv.engines.plan import STEPS

FIRST = 2
"""Steps before those that are timed: constants are made, and kernels chosen. Ours starts after the redirected ones."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Marks:
    """Marks the time of each forward pass of a network, and counts the pixels that it sees."""

    def __init__(self, module: nn.Module, clock: Clock) -> None:
        self.clock, self.marks, self.pixels = clock, list[Any](), list[int]()
        self._hook = module.register_forward_pre_hook(self._mark)

    def _mark(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.marks.append(self.clock.mark())
        batch, _, height, width = args[0].shape
        self.pixels.append(batch * height * width)

    def seconds(self) -> float:
        """Of a step: the median."""
        self._hook.remove()
        pairs = zip(self.marks[FIRST:], self.marks[FIRST + 1 :], strict=False)
        return statistics.median([self.clock.between(start, end) for start, end in pairs])


def moved_names() -> None:
    """Put back for Lucent what kornia has moved since."""
    import kornia
    import kornia.geometry.transform as moved

    kornia.get_rotation_matrix2d, kornia.warp_affine = moved.get_rotation_matrix2d, moved.warp_affine


def lucent(module: nn.Module, size: int, batch: int, steps: int, device: torch.device) -> None:
    moved_names()
    from lucent.optvis import objectives, param, render  # type: ignore[import-not-found]

    objective = objectives.Objective.sum([objectives.channel("fc", unit, batch=unit) for unit in range(batch)])
    pictures = partial(param.image, size, batch=batch)
    render.render_vis(
        module, objective, pictures, thresholds=(steps,), progress=False, show_image=False, fixed_image_size=size
    )
    for layer in module.modules():  # it never removes its hooks, and the next render would call them too
        layer._forward_hooks.clear()


def torch_dreams(module: nn.Module, size: int, batch: int, steps: int, device: torch.device) -> None:
    from torch_dreams import Dreamer  # type: ignore[import-not-found]
    from torch_dreams.batched_image_param import BatchedAutoImageParam  # type: ignore[import-not-found]
    from torch_dreams.batched_objective import BatchedObjective  # type: ignore[import-not-found]

    objective = BatchedObjective([lambda outputs, unit=unit: -outputs[0][0, unit] for unit in range(batch)])
    pictures = BatchedAutoImageParam(batch, height=size, width=size, device=str(device))
    dreamer: Any = Dreamer(module, quiet=True, device=str(device))
    dreamer.render([module.fc], pictures, iters=steps, custom_func=objective)


def horama(module: nn.Module, size: int, batch: int, steps: int, device: torch.device) -> None:
    """One target alone."""
    from horama import fourier  # type: ignore[import-not-found]

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        fourier(
            lambda pictures: module(pictures)[:, 0].mean(), total_steps=steps, image_size=size, model_input_size=size,
            crops_per_iteration=2, device=str(device),
        )  # fmt: skip


def as_documented(module: nn.Module, layer: str, size: int, batch: int, steps: int, device: torch.device) -> None:
    """Lucent with its defaults, for the first units of a layer."""
    from lucent.optvis import objectives, param, render

    objective = objectives.Objective.sum([objectives.channel(layer, unit, batch=unit) for unit in range(batch)])
    pictures = partial(param.image, size, batch=batch)
    render.render_vis(module, objective, pictures, thresholds=(steps,), progress=False, show_image=False)
    for part in module.modules():
        part._forward_hooks.clear()


def whole_renders(network: VisionNetwork, rounds: int, clock: Clock) -> None:
    """Print mean seconds of a step over a render: ours, Lucent's, and the bare pass for one logit at 128 px."""
    print(f"{clock}; {rounds} rounds, ms of a step for all targets, the mean over a render of {STEPS}")
    print("targets          px  batch       ours  other           other / ours")
    module = copy.deepcopy(network.module).requires_grad_()
    moved_names()

    def ours(layer: str, size: int, batch: int) -> float:
        timed = render_steps(network, f"{layer}:0-{batch - 1}", size, 40, clock)
        first, rest = (statistics.mean(timed.times(steps).seconds) for steps in (range(16), range(16, 40)))
        return first * 16 / STEPS + rest * (1 - 16 / STEPS)

    def bare() -> float:
        work = bare_pass(network, 1, 128, clock.device)
        work()
        return statistics.mean(clock.seconds(work) for _ in range(20))

    def lucents(layer: str, size: int, batch: int) -> float:
        marks = Marks(module, clock)
        as_documented(module, "fc" if layer == "logits" else layer, size, batch, 5 if batch > 1 else 8, clock.device)
        return marks.seconds()

    for layer, size, batch in (("logits", 128, 1), ("logits", 64, 16), ("layer1", 224, 1), ("layer2", 224, 1)):
        against = "bare pass" if size == 128 else "Lucent"
        works: dict[str, Callable[[], float]] = {"ours": partial(ours, layer, size, batch)}
        works[against] = bare if size == 128 else partial(lucents, layer, size, batch)
        found = alternating(works, rounds)
        ratios = [b / a for a, b in zip(found["ours"].seconds, found[against].seconds, strict=True)]
        print(
            f"{layer:12} {size:6} {batch:6} {found['ours'].median * 1e3:10.1f}  {against:9} {found[against].median * 1e3:8.1f} "
            f"{statistics.median(ratios):8.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
            flush=True,
        )


PEERS: dict[str, Callable[..., None]] = {"lucent": lucent, "torch-dreams": torch_dreams, "horama": horama}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clock_arguments(parser)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224], help="pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="targets rendered together")
    parser.add_argument(
        "--steps", type=int, default=12, help="of each peer in a round; ours has 16 more, redirected ones"
    )
    parser.add_argument("--rounds", type=int, default=3, help="A B A B ...; one more, the first, does not count")
    parser.add_argument(
        "--as-documented", action="store_true", help="whole renders, against Lucent as its README uses it"
    )
    args = parser.parse_args()
    clock = Clock(args.device, args.cpu_time)
    network = VisionNetwork(torchvision.models.resnet50(), mean=MEAN, std=STD, name="resnet50")
    if args.as_documented:
        network.module.eval()
        whole_renders(network, args.rounds, clock)
        return
    module = network.module.eval().requires_grad_(False).to(args.device)
    peers = {}
    for name, peer in PEERS.items():
        try:
            peer(module, 64, 2, 1, args.device)
            peers[name] = peer
        except ImportError as error:
            print(f"{name} is not measured: {error}")
    print(f"{clock}; {args.rounds} rounds of {args.steps} steps, ms per target and step")
    print("  px batch  what              ms  spread  /bare  seen")
    for size in args.sizes:
        for batch in args.batches:
            measure(network, peers, size, batch, args.steps, args.rounds, clock)


def measure(
    network: VisionNetwork, peers: dict[str, Callable[..., None]], size: int, batch: int, steps: int, rounds: int, clock: Clock
) -> None:  # fmt: skip
    """Print the rows of one size and batch."""
    seen = {"bare": 1.0, "lightning_fv": 1.0}

    def bare() -> float:
        work = bare_pass(network, batch, size, clock.device)
        work()
        return statistics.median(clock.seconds(work) for _ in range(steps))

    def ours() -> float:
        first, last = 17, 16 + steps
        targets = f"logits:0-{batch - 1}"
        return render_steps(network, targets, size, last, clock).times(ordinary(first, last)).median

    def theirs(name: str) -> float:
        marks = Marks(network.module, clock)
        peers[name](network.module, size, batch, steps, clock.device)
        count = 1 if name == "horama" else batch
        seen[name] = statistics.mean(marks.pixels[FIRST:]) / (count * size * size)
        return marks.seconds() * batch / count  # as if it rendered one after another

    works: dict[str, Callable[[], float]] = {"bare": bare, "lightning_fv": ours}
    found = alternating(works | {name: partial(theirs, name) for name in peers}, rounds)
    for name, times in found.items():
        ratio = statistics.median(a / b for a, b in zip(times.seconds, found["bare"].seconds, strict=True))
        print(
            f"{size:4} {batch:5}  {name:12} {times.median * 1e3 / batch:7.1f} {times.spread:6.0%} {ratio:7.2f} {seen[name]:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
