"""The way through the network and back, in as many parts as the memory needs."""

import contextlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_fv.errors import DeviceMemoryError, UsageError
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import Objective, stack_objectives
from lightning_fv.optimization.redirected_relu import RedirectedReLU
from lightning_fv.targets import Target


@dataclass
class Climb:
    """What a pass of all pictures through the network gave.

    Attributes:
        objectives: (B,), each target's, without a graph.
        loss: scalar: the negative of their sum.
        by_seen: gradient of the loss by the pictures as the network saw them, (B, 3, H', W').
        by_images: the same by the pictures as they are, (B, 3, H, W); None if no objective looks at them.
    """

    objectives: Tensor
    loss: Tensor
    by_seen: Tensor
    by_images: Tensor | None

    def loss_of(self, seen: Tensor, images: Tensor) -> Tensor:
        """The loss as a function of the pictures: its backward pass goes on where the network's has ended.

        A picture whose objective is NaN or infinite gets a gradient of NaN, also where the network's own was finite: so
        that whatever sums gradients, over batches or ranks, carries the news.
        """
        loss: Tensor = _Known.apply(self.loss, self.objectives, self.by_seen, self.by_images, seen, images)
        return loss


class Ascent:
    """Forward and backward pass of a batch through a frozen network.

    Objectives are per picture, so a batch can go through in parts; the result differs by rounding. When the device's
    memory is short the parts are halved, with one warning, and stay so.

    Args:
        network: what to look at.
        targets: one per picture.
        chunk: pictures that go through together; None for all.
    """

    def __init__(self, network: VisionNetwork, targets: Sequence[Target], chunk: int | None = None) -> None:
        if chunk is not None and chunk < 1:
            raise UsageError(f"chunk, the pictures that pass the network together, must be at least 1, got {chunk}")
        self.network, self.targets, self.chunk = network, list(targets), chunk
        self._stacked: dict[tuple[int, int], tuple[list[tuple[list[int], Objective]], frozenset[str]]] = {}

    def __call__(self, seen: Tensor, images: Tensor, redirected: Tensor | bool = False) -> Climb:
        """Each target's objective, and the gradient that raises it.

        Args:
            seen: (B, 3, H', W') pictures as the network sees them.
            images: (B, 3, H, W) pictures as they are, in [0, 1].
            redirected: whose ReLUs let a gradient pass that they would block: all, none, or (B,) bool.

        Raises:
            DeviceMemoryError: one picture alone is too much for the device's memory.
        """
        count = len(images)
        while True:
            chunk = min(self.chunk or count, count)
            try:
                parts = [
                    self._part(seen[start : start + chunk], images[start : start + chunk], start, redirected)
                    for start in range(0, count, chunk)
                ]
                return parts[0] if len(parts) == 1 else _joined(parts, images)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            # Out here, since the exception held on to the tensors of the pass that failed.
            self._halve(chunk, seen)

    def objectives(self, seen: Tensor, images: Tensor, start: int = 0) -> Tensor:
        """Objectives, (B,) with a graph, of pictures of the targets from number ``start`` on."""
        key = (start, start + len(images))
        if key not in self._stacked:
            stacked = stack_objectives([target.objective for target in self.targets[slice(*key)]])
            self._stacked[key] = stacked, frozenset().union(*(objective.layers for _, objective in stacked))
        groups, layers = self._stacked[key]
        activations = self.network.activations(seen, layers)
        if len(groups) == 1:
            return groups[0][1](activations, images)
        values = images.new_zeros(len(images))
        for rows, objective in groups:
            index = torch.tensor(rows, device=images.device)
            picked = {layer: activations[layer][index] for layer in objective.layers}
            values = values.index_put((index,), objective(picked, images[index]))
        return values

    def logits(self, images: Tensor) -> Tensor:
        """The network's output for pictures (B, 3, H, W), as many at a time as the last pass took, (B, classes)."""
        size = self.chunk or len(images)
        return torch.cat([self.network(images[start : start + size]) for start in range(0, len(images), size)])

    def _part(self, seen: Tensor, images: Tensor, start: int, redirected: Tensor | bool) -> Climb:
        seen, images = seen.detach().requires_grad_(), images.detach().requires_grad_()
        rows = redirected[start : start + len(images)] if isinstance(redirected, Tensor) else None
        off = redirected is False
        with contextlib.nullcontext() if off else RedirectedReLU(rows):
            values = self.objectives(seen, images, start)
        # The one minus of the package. A sum, so that a picture's gradient does not depend on its batch-mates.
        loss = -values.sum()
        with torch.autocast(images.device.type, enabled=False):  # a backward pass has the types of its forward pass
            by_seen, by_images = torch.autograd.grad(loss, (seen, images), allow_unused=True)
        if by_seen is None:
            by_seen = torch.zeros_like(seen)
        return Climb(values.detach(), loss.detach(), by_seen, by_images)

    def _halve(self, chunk: int, seen: Tensor) -> None:
        height, width = seen.shape[-2:]
        if chunk == 1:
            raise DeviceMemoryError(
                f"out of memory on {seen.device}: of a batch of {len(seen)}, one picture of {height}x{width} px alone does "
                "not fit; set a smaller size (--model.size, and `to` of ProgressiveUpscale) or --trainer.accelerator cpu"
            )
        self.chunk = (chunk + 1) // 2
        if seen.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"out of memory on {seen.device} with {chunk} pictures of {height}x{width} px; from here on {self.chunk} of the "
            f"batch's {len(seen)} pass the network at a time (a smaller --batch-size, or --model.chunk, avoids the try)",
            stacklevel=2,
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is full; cuDNN and cuBLAS say so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or bool(re.search(r"CU\w+_STATUS_ALLOC_FAILED", str(error)))


def _joined(parts: Sequence[Climb], images: Tensor) -> Climb:
    by_images = None
    if any(part.by_images is not None for part in parts):
        shape = images.shape[1:]
        by_images = torch.cat(
            [
                images.new_zeros(len(part.objectives), *shape) if part.by_images is None else part.by_images
                for part in parts
            ]
        )
    return Climb(
        torch.cat([part.objectives for part in parts]),
        torch.stack([part.loss for part in parts]).sum(),
        torch.cat([part.by_seen for part in parts]),
        by_images,
    )


class _Known(torch.autograd.Function):
    """A loss whose gradient is known already."""

    @staticmethod
    def forward(
        ctx: Any,
        loss: Tensor,
        objectives: Tensor,
        by_seen: Tensor,
        by_images: Tensor | None,
        seen: Tensor,
        images: Tensor,
    ) -> Tensor:
        ctx.trust = 1 + 0 * objectives  # NaN where these are NaN or infinite
        ctx.by_seen, ctx.by_images = by_seen, by_images
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        factor = (grads[0] * ctx.trust).view(-1, 1, 1, 1)
        # In place, since a backward pass runs once.
        by_images = None if ctx.by_images is None else ctx.by_images.mul_(factor)
        return None, None, None, None, ctx.by_seen.mul_(factor), by_images
