"""Objectives of a batch and their gradient, computed in as many chunks as the device's memory needs."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_fv.errors import DeviceMemoryError, warn
from lightning_fv.functional import constant
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import LOGITS, Objective, stack_objectives
from lightning_fv.objectives.photo import activations_of, kind_of
from lightning_fv.optimization.diversity import Comparison, PicturesOfUnit
from lightning_fv.optimization.redirected_relu import RedirectedReLU
from lightning_fv.optimization.references import NO_REFERENCES, Pictures, References
from lightning_fv.targets import Target

LOWEST = -1e30
"""Stands for an objective that is NaN or infinite in the loss: a line search turns back from it, and fails at NaN."""


@dataclass
class ObjectiveGradient:
    """Objectives of a batch with their gradient, both detached.

    Attributes:
        objectives: (B,), one per target.
        by_seen: gradient of their sum with respect to the pictures as the network saw them, (B, 3, H', W').
        by_images: the same with respect to the pictures before transforms, (B, 3, H, W); None if no objective reads them.
        penalty: what diversity and penalties that read activations subtract from the objectives, (B,), if there is any;
            ``by_seen`` is that of the difference.
    """

    objectives: Tensor
    by_seen: Tensor
    by_images: Tensor | None
    penalty: Tensor | None = None

    @property
    def active(self) -> Tensor:
        """(B,) bool: whether the objective is not exactly 0 or has a gradient. NaN counts as active.

        A penalty does not count: it is a multiple of the objective, and has no gradient either where that is 0.
        """
        active = torch.logical_or(self.objectives, torch.linalg.vector_norm(self.by_seen.flatten(1), dim=1))
        if self.by_images is not None:
            active.logical_or_(torch.linalg.vector_norm(self.by_images.flatten(1), dim=1))
        return active

    def attach(self, seen: Tensor, images: Tensor) -> Tensor:
        """The objectives less the penalty, (B,), as a function of the pictures: a backward pass continues where the network's
        ended.

        A picture whose objective is NaN or infinite gets a gradient of NaN, even if the network's gradient was finite, so
        that it shows in any sum of gradients, over batches or ranks. One backward pass only.
        """
        values = self.objectives if self.penalty is None else self.objectives - self.penalty
        objectives: Tensor = PrecomputedGradient.apply(values, self.by_seen, self.by_images, seen, images)
        return objectives


class PrecomputedGradient(torch.autograd.Function):
    """Objectives (B,) whose gradient with respect to ``seen`` and ``images`` has been computed already."""

    @staticmethod
    def forward(
        ctx: Any, objectives: Tensor, by_seen: Tensor, by_images: Tensor | None, seen: Tensor, images: Tensor
    ) -> Tensor:
        ctx.gradients = objectives, by_seen, by_images
        return objectives.nan_to_num(LOWEST, LOWEST, LOWEST)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        objectives, by_seen, by_images = ctx.gradients
        factor = torch.add(grads[0], objectives, alpha=0).view(-1, 1, 1, 1)  # NaN where these are NaN or infinite
        del ctx.gradients  # scaled in place to save memory, so a second backward pass has nothing to start from
        return None, None, None, by_seen.mul_(factor), None if by_images is None else by_images.mul_(factor)


@dataclass
class _Stacked:
    """What is evaluated for some pictures of the batch.

    Attributes:
        groups: rows, and the objective that evaluates them.
        layers: all that are read for the pictures.
        reference_layers: for each kind of reference that is read, layers by the name of their activations.
        penalties: those that read activations, ready for these pictures.
    """

    groups: list[tuple[list[int], Objective]]
    layers: set[str]
    reference_layers: dict[str, dict[str, str]]
    penalties: list[Objective]

    @classmethod
    def of(cls, targets: Sequence[Target], penalties: Sequence[Objective], compared: set[str]) -> "_Stacked":
        single = [target.objective for target in targets]
        groups, penalties = stack_objectives(single), [penalty.for_objectives(single) for penalty in penalties]
        objectives = [*(objective for _, objective in groups), *penalties]
        references: dict[str, dict[str, str]] = {}
        for layer, photo in set().union(*(objective.photos for objective in objectives)):
            references.setdefault(kind_of(photo), {})[activations_of(layer, photo)] = layer
        return cls(groups, compared.union(*(objective.layers for objective in objectives)), references, penalties)


class ChunkedObjective:
    """The targets' objectives and their gradient through a frozen network, chunk by chunk.

    Objectives are per picture, so a batch can pass through the network in chunks; the result differs by rounding. When the
    device runs out of memory, the chunks are halved for good, with one warning. With diversity, the pictures of a unit that is
    cut into two chunks pass through the network once more before, without a gradient: each is compared with all the others.

    Args:
        network: the network to visualize.
        targets: one per picture.
        chunk: pictures per forward pass, at least 1; None for all.
        diversity: weight of the similarity of several pictures of one unit; see `lightning_fv.optimization.diversity`.
        diversity_layer: at which they are compared; default: see `layer_to_compare`.
        penalties: of the recipe; those that read activations are subtracted here.
        start: (B, C, H, W) in [0, 1], what the pictures start from, or None for noise.
    """

    def __init__(
        self,
        network: VisionNetwork,
        targets: Sequence[Target],
        chunk: int | None = None,
        diversity: float = 0.0,
        diversity_layer: str | None = None,
        penalties: Sequence[Objective] = (),
        start: Tensor | None = None,
    ) -> None:
        self.network, self.targets, self.chunk, self.diversity = network, list(targets), chunk, diversity
        self.comparison = Comparison(network, self.targets, diversity_layer)
        self.penalties = [penalty.for_network(network) for penalty in penalties if penalty.reads_activations]
        self.references = References(self.targets, self.penalties, start, network.channels)
        self._stacked: dict[tuple[int, int], _Stacked] = {}

    def __call__(
        self,
        seen: Tensor,
        images: Tensor,
        redirected: Tensor | bool = False,
        references: Pictures = NO_REFERENCES,
    ) -> ObjectiveGradient:
        """Each target's objective and its gradient.

        Args:
            seen: (B, 3, H', W') pictures as the network sees them.
            images: (B, 3, H, W) pictures before transforms, in [0, 1].
            redirected: for which pictures ReLU gradients are redirected: all, none, or (B,) bool.
            references: what they are compared with, transformed like them, (B, 3, H', W'); see `References.at`.

        Raises:
            DeviceMemoryError: a single picture does not fit into the device's memory.
        """
        count = len(images)
        while True:
            chunk = min(self.chunk or count, count)
            try:
                of_cut = self.comparison.features_of_cut(seen, chunk) if self.diversity else {}
                parts = [
                    self._gradient(
                        seen[start : start + chunk],
                        images[start : start + chunk],
                        start,
                        redirected,
                        of_cut,
                        {kind: pictures[start : start + chunk] for kind, pictures in references.items()},
                    )
                    for start in range(0, count, chunk)
                ]
                return parts[0] if len(parts) == 1 else _concatenate(parts, images)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            # Outside the handler, since the exception keeps the tensors of the failed pass alive.
            self._halve_chunk(chunk, seen)

    def logits(self, images: Tensor) -> Tensor:
        """The network's output for pictures (B, C, H, W), in the same chunks as the last call, (B, classes); the mean of a map."""
        size = self.chunk or len(images)
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        logits = torch.cat([self.network.activations(chunk, [LOGITS])[LOGITS] for chunk in chunks])
        return logits.reshape(*logits.shape[:2], -1).mean(2)

    def similarity(self, images: Tensor) -> Tensor:
        """How much each picture looks like the others of its unit, (B,), NaN for the only one; in the same chunks too."""
        return self.comparison.of_pictures(images, self.chunk or len(images))

    def _gradient(
        self,
        seen: Tensor,
        images: Tensor,
        start: int,
        redirected: Tensor | bool,
        of_cut: Mapping[PicturesOfUnit, Tensor],
        references: Pictures,
    ) -> ObjectiveGradient:
        """Objectives and gradient of one chunk, which starts at picture ``start`` of the batch."""
        seen, images = seen.detach().requires_grad_(), images.detach().requires_grad_()
        rows = redirected[start : start + len(images)] if isinstance(redirected, Tensor) else None
        with contextlib.nullcontext() if redirected is False else RedirectedReLU(rows):
            objectives, shares = self._objectives(seen, images, start, of_cut, references)
        left = objectives  # shares of what the others leave, which may be little in the first steps
        for share in (share for multiplies, share in shares if multiplies):
            left = left * (1 - share)
        penalty = None if left is objectives else objectives - left
        for share in (share for multiplies, share in shares if not multiplies):
            part = left.detach().abs() * share
            penalty = part if penalty is None else penalty + part
        with torch.autocast(images.device.type, enabled=False):  # the backward pass uses the types of the forward pass
            reached = objectives if penalty is None else objectives - penalty
            ones = constant((1.0,) * len(reached), reached.device, reached.dtype)  # those of their sum, made once
            by_seen, by_images = torch.autograd.grad(reached, (seen, images), ones, allow_unused=True)
        return ObjectiveGradient(
            objectives.detach(),
            by_seen if by_seen is not None else torch.zeros_like(seen),
            by_images,
            None if penalty is None else penalty.detach(),
        )

    def _objectives(
        self,
        seen: Tensor,
        images: Tensor,
        start: int,
        of_cut: Mapping[PicturesOfUnit, Tensor],
        references: Pictures,
    ) -> tuple[Tensor, list[tuple[bool, Tensor]]]:
        """Objectives of one chunk and the shares of them that are subtracted, each with whether it multiplies, (B,) each with a graph; the network's
        forward stops after the deepest layer needed."""
        key = (start, start + len(images))
        if key not in self._stacked:
            compared = self.comparison.layers(start, len(images)) if self.diversity else set()
            self._stacked[key] = _Stacked.of(self.targets[slice(*key)], self.penalties, compared)
        stacked = self._stacked[key]
        activations = self.network.activations(seen, stacked.layers)
        for kind, layers in stacked.reference_layers.items():
            with torch.no_grad():
                found = self.network.activations(references[kind], layers.values())
            activations |= {name: found[layer] for name, layer in layers.items()}
        similarity = self.comparison.similarity(activations, start, len(images), of_cut) if self.diversity else None
        shares = [] if similarity is None else [(False, self.diversity * similarity)]
        shares += [(penalty.multiplies, penalty(activations, images)) for penalty in stacked.penalties]
        if len(stacked.groups) == 1:
            return stacked.groups[0][1](activations, images), shares
        values = images.new_zeros(len(images))
        for rows, objective in stacked.groups:
            index = constant(tuple(rows), images.device, torch.long)
            names = {*objective.layers, *(activations_of(*read) for read in objective.photos)}
            picked = {name: activations[name][index] for name in names}
            values = values.index_put((index,), objective(picked, images[index]))
        return values, shares

    def _halve_chunk(self, chunk: int, seen: Tensor) -> None:
        height, width = seen.shape[-2:]
        if chunk == 1:
            raise DeviceMemoryError(
                f"out of memory on {seen.device}: even one picture of {height}x{width} px of a batch of {len(seen)} does "
                "not fit; set a smaller size (--model.size, and `to` of ProgressiveUpscale) or --trainer.accelerator cpu"
            )
        self.chunk = (chunk + 1) // 2
        if seen.device.type == "cuda":
            torch.cuda.empty_cache()
        warn(
            f"out of memory on {seen.device} with {chunk} pictures of {height}x{width} px; from here on the "
            f"batch of {len(seen)} is processed {self.chunk} at a time (a smaller --batch-size, or --model.chunk, avoids this)",
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is full; cuDNN and cuBLAS say so only in their message."""
    return isinstance(error, torch.OutOfMemoryError) or bool(re.search(r"CU\w+_STATUS_ALLOC_FAILED", str(error)))


def _concatenate(parts: Sequence[ObjectiveGradient], images: Tensor) -> ObjectiveGradient:
    by_images = penalty = None
    if any(part.by_images is not None for part in parts):
        by_images = torch.cat(
            [
                images.new_zeros(len(part.objectives), *images.shape[1:]) if part.by_images is None else part.by_images
                for part in parts
            ]
        )
    if any(part.penalty is not None for part in parts):
        zeros = torch.zeros_like
        penalty = torch.cat([zeros(part.objectives) if part.penalty is None else part.penalty for part in parts])
    objectives, by_seen = torch.cat([part.objectives for part in parts]), torch.cat([part.by_seen for part in parts])
    return ObjectiveGradient(objectives, by_seen, by_images, penalty)
