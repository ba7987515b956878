"""How many pictures a GPU can render at a time."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from lightning_fv.networks import VisionNetwork
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.targets import Target

BATCH_SIZE = 24
"""Pictures rendered together without a GPU: on a CPU, 16 at a time took 3 to 15 % longer (docs/performance.md)."""

LARGEST_BATCH = 256
"""Larger batches use no GPU better, and an interruption costs a whole job at most."""

# Leaves room for the allocator's fragmentation, cuDNN's workspaces, and Adam's two moments.
_MARGIN = 0.75


def batch_that_fits(
    memory: int, first: tuple[int, int], second: tuple[int, int], growth: float = 1.0, most: int = LARGEST_BATCH
) -> int:
    """The largest batch whose memory, linear in the number of pictures and their area, stays within a margin.

    Args:
        memory: available bytes.
        first, second: two measured batches: (number of pictures, peak bytes), the smaller first.
        growth: area of the largest pictures of the run over that of the measured ones.
        most: upper limit, such as the number of targets.

    Returns:
        A multiple of 8, unless it is below 8 or ``most``; at least 1.
    """
    per_picture = max(1.0, (second[1] - first[1]) / (second[0] - first[0]))
    constant = max(0.0, first[1] - first[0] * per_picture)
    fits = int((memory * _MARGIN - constant) / (per_picture * growth))
    fits = min(fits, LARGEST_BATCH)
    return max(1, min(fits - fits % 8 if fits >= 8 else fits, most))


def measured_batch_size(
    recipe: FeatureVisualizer,
    network: VisionNetwork,
    targets: Sequence[Target],
    device: torch.device,
    growth: float,
    ranks: int = 1,
    start: Tensor | None = None,
    precision: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> int:
    """The batch size for a CUDA device, from the peak memory of one real pass of one picture and of four.

    This has run on the mock device of the tests alone, not on a GPU yet.

    Args:
        recipe: renders the pictures.
        network: the network to visualize.
        targets: all of the run; the one whose layer runs last is measured.
        device: a CUDA device.
        growth: area of the largest pictures of the run over that of the first.
        ranks: number of ranks that share the targets; batches stay small enough for each of them to get a job.
        start: pictures to start from, (B, C, H, W) or (C, H, W), or None.
        precision: makes what a step is entered in, such as autocast.
    """
    first, second = measured_peaks(recipe, network, targets, device, start, precision)
    free, _ = torch.cuda.mem_get_info(device)
    return batch_that_fits(free, first, second, growth, -(-len(targets) // ranks))


def measured_peaks(
    recipe: FeatureVisualizer,
    network: VisionNetwork,
    targets: Sequence[Target],
    device: torch.device,
    start: Tensor | None = None,
    precision: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(pictures, peak bytes) of a pass of one picture and of four, for the target whose layer runs last.

    Args:
        recipe, network, targets, device, start, precision: see `measured_batch_size`.
    """
    order = {info.name: number for number, info in enumerate(network.layers())}

    def depth(target: Target) -> int:
        return max((order.get(layer.split("#")[0].split("[")[0], 0) for layer in target.objective.layers), default=0)

    deepest = max(targets, key=depth)
    measured, home = [], network.device
    network.to(device)
    with network.frozen():
        for count in (1, 4):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            first = start[:1] if start is not None and start.ndim == 4 else start
            bound = recipe.bind(network, [deepest] * count, start=first).to(device)
            # The first steps need the most: their redirected ReLUs keep what the ordinary ones can do without.
            with precision():
                loss = bound.loss(step=0, draw=0)
            loss.backward()  # type: ignore[no-untyped-call]
            measured.append((count, torch.cuda.max_memory_allocated(device)))
            del bound, loss
    network.to(home)
    torch.cuda.empty_cache()
    return measured[0], measured[1]
