"""Distance of a layer's activations from those that photos cause, channel by channel."""

import copy
import hashlib
import math
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.weights import read_weights
from lightning_fv.objectives.base import Activations, Objective

QUANTILES = Path(__file__).parents[1] / "assets" / "photo_quantiles.safetensors"
"""Quantiles of the embedded networks, by ``scripts/measure_quantiles.py``."""


class DistributionMatching(Objective):
    """How far the activations of each channel of a layer, sorted, are from those of photos; as a penalty.

    After VITAL (Adagorgun et al. 2025, "VITAL: More Understandable Feature Visualization through Distribution Alignment and Relevant
    Information Flow"), which sorts the activations of a picture and of about 50 photos of a class and makes the former like the
    latter. Here photos are summed up by the mean of their sorted activations q, the quantile function of the barycentre of
    their distributions, so that none is needed while rendering. With a picture's activations a of channel c at P positions, sorted:

        d = mean over c of  sum over i (a_ci - q_ci)^2 / P  /  spread_c

    and spread_c the mean of the same over the photos themselves: photos have a mean of 1. Like all penalties that read activations it is
    multiplied by the objective reached: o (1 - weight d).

    What it risks: it asks that pictures be like photos, whatever the unit responds to. What a picture shows because of it is known of
    photos, not of the unit.

    Args:
        layer: layer name; its output is (B, C, ...) with positions.
        weight: factor.
        quantiles: a file of ``scripts/measure_quantiles.py``. None for the package's own, of the embedded networks.
        digest: of the file, as ``digest`` gives it: another one is refused.

    Raises:
        UsageError: the weight is not finite, or the file is not that of the digest; by `for_network`, it holds no usable quantiles of
            the network's layer, or the network has not the weights that its name stands for.
        CheckpointError: the file cannot be read.
    """

    def __init__(
        self, layer: str, weight: float = 0.1, quantiles: str | Path | None = None, digest: str | None = None
    ) -> None:
        if not math.isfinite(weight):
            raise UsageError(f"DistributionMatching needs a finite weight, got {weight}")
        self.layer, self.weight = layer, float(weight)
        self.quantiles = None if quantiles is None else str(quantiles)
        self._stored = read_weights(Path(self.quantiles) if self.quantiles is not None else QUANTILES)
        self.digest = None if self.quantiles is None else _digest(self._stored)
        if digest is not None and digest != self.digest:
            raise UsageError(
                f"the quantiles in {self.quantiles} have changed: their digest is {self.digest}, not {digest}"
            )
        self._of: tuple[Tensor, Tensor] | None = None  # quantiles (C, Q) and spread (C,)

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    def for_network(self, network: VisionNetwork) -> Self:
        name = f"{network.name}:{self.layer}"
        if name not in self._stored:
            known = sorted(stored.removesuffix(" spread") for stored in self._stored if stored.endswith(" spread"))
            raise UsageError(
                f"no quantiles of {name} in {self.quantiles or 'the package'}; known are {', '.join(known) or 'none'}; "
                "scripts/measure_quantiles.py measures others"
            )
        weights = "default" if network.source is None else network.source["weights"]
        # A file of one's own may hold the quantiles of weights of one's own, but none are of an untrained network.
        if weights is None or (weights != "default" and self.quantiles is None):
            raise UsageError(
                f"the quantiles of {name} are of its published weights, and not for "
                f"{'an untrained network (--no-weights)' if weights is None else weights}; leave out DistributionMatching"
            )
        quantiles, spread = self._stored[name], self._stored.get(f"{name} spread")
        if not _valid(quantiles, spread):
            raise UsageError(
                f"the quantiles of {name} in {self.quantiles or 'the package'} are not finite numbers (C, levels) with a spread "
                "above 0 of each channel; measure them again by scripts/measure_quantiles.py"
            )
        assert spread is not None
        bound = copy.copy(self)
        bound._of = quantiles, spread
        return bound

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        if self._of is None:
            raise UsageError("DistributionMatching is a penalty of a visualizer, and no part of a target")
        found = activations[self.layer]
        quantiles, spread = (tensor.to(found.device) for tensor in self._of)
        if found.ndim < 3 or found.shape[1] != len(quantiles):
            shape = tuple(found.shape)
            raise UsageError(
                f"{self.layer} outputs {shape}, and there are quantiles of {len(quantiles)} channels at positions"
            )
        values = found.flatten(2).float().sort(2).values
        difference = (values - resampled(quantiles, values.shape[2])).square().mean(2) / spread
        return self.weight * difference.mean(1)


def resampled(values: Tensor, count: int) -> Tensor:
    """Sorted values (..., N), at the levels (i + 1/2) / N, at ``count`` such levels: linear in between, constant beyond."""
    stored = values.shape[-1]
    places = ((torch.arange(count, device=values.device) + 0.5) * (stored / count) - 0.5).clamp(0, stored - 1)
    below = places.floor().long()
    above = (below + 1).clamp(max=stored - 1)
    return torch.lerp(values[..., below], values[..., above], places - below)


def _valid(quantiles: Tensor, spread: Tensor | None) -> bool:
    """Whether these are finite quantiles (C, Q) and the spread (C,) of each channel, above 0."""
    if spread is None or quantiles.ndim != 2 or 0 in quantiles.shape or spread.shape != quantiles.shape[:1]:
        return False
    floating = quantiles.is_floating_point() and spread.is_floating_point()
    return floating and bool(quantiles.isfinite().all() & spread.isfinite().all() & (spread > 0).all())


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()
