"""Distance between the distributions of a layer's activations for a picture and for photos, channel by channel."""

import copy
import functools
import hashlib
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import on_device
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.weights import read_metadata, read_weights
from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.penalty import LayerPenalty

QUANTILES = Path(__file__).parents[1] / "assets" / "photo_quantiles.safetensors"
"""Quantiles for the embedded networks, measured by ``scripts/measure_quantiles.py``."""


class DistributionMatching(LayerPenalty):
    """A penalty: how far the sorted activations of each channel of a layer are from those for photos.

    After VITAL (Adagorgun et al. 2025, "VITAL: More Understandable Feature Visualization through Distribution Alignment and Relevant
    Information Flow"), which sorts the activations of a picture and of about 50 photos of a class and matches the former to the
    latter. Here photos are summarized by the mean q of their sorted activations, which is the quantile function of the Wasserstein
    barycentre of their distributions, so that no photos are needed while rendering. With a_c, the sorted activations of channel c at P positions:

        d = mean over c of  sum over i (a_ci - q_ci)^2 / P  /  spread_c

    where spread_c is the mean of the same squared distance over the photos themselves, so that d is 1 on average for photos. Like all
    penalties that read activations, it is multiplied by the current objective: o (1 - weight d).

    The risk: pictures are made to resemble photos, whatever the unit responds to. What a picture shows may come from the photo
    statistics rather than from the unit.

    Args:
        layer: layer name; its output is (B, C, ...) with positions.
        weight: factor.
        quantiles: a file made by ``scripts/measure_quantiles.py``. None for the package's own, for the embedded networks.
        digest: the file's expected ``digest``; any other file is refused.

    Raises:
        UsageError: the weight is not finite, or the file does not match the digest; from `for_network`: the file holds no usable
            quantiles of the network's layer, or those of other weights.
        CheckpointError: the file cannot be read.
    """

    def __init__(
        self, layer: str, weight: float = 0.1, quantiles: str | Path | None = None, digest: str | None = None
    ) -> None:
        super().__init__(layer, weight)
        self.quantiles = None if quantiles is None else str(quantiles)
        file = Path(self.quantiles) if self.quantiles is not None else QUANTILES
        stored, self._measured = read_weights(file), read_metadata(file)
        self.digest = None if self.quantiles is None else _digest(stored)
        if digest is not None and digest != self.digest:
            raise UsageError(
                f"the quantiles in {self.quantiles or 'the package'} have changed: their digest is {self.digest}, not {digest}"
            )
        self._names = sorted(name for name in stored if not name.endswith(" spread"))
        of_layer = {name: stored[name] for name in stored if name.removesuffix(" spread").endswith(f":{self.layer}")}
        self._stored = of_layer  # without the others, which would travel with it to other processes
        self._of: tuple[Tensor, Tensor] | None = None  # quantiles (C, Q) and spread (C,)

    def for_network(self, network: VisionNetwork) -> Self:
        name = f"{network.name}:{self.layer}"
        if name not in self._stored:
            raise UsageError(
                f"no quantiles of {name} in {self.quantiles or 'the package'}; known are {', '.join(self._names) or 'none'}; "
                "scripts/measure_quantiles.py measures others"
            )
        if self._measured.get(network.name) != network.digest():
            raise UsageError(
                f"the quantiles of {network.name} in {self.quantiles or 'the package'} are of other weights; "
                "scripts/measure_quantiles.py measures those of these"
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
        quantiles, spread = self._of
        if found.ndim < 3 or found.shape[1] != len(quantiles):
            shape = tuple(found.shape)
            raise UsageError(
                f"{self.layer} outputs {shape}, and there are quantiles of {len(quantiles)} channels at positions"
            )
        values = found.flatten(2).float().sort(2).values
        wanted = _resampled_on(found.device, quantiles, values.shape[2])
        difference = (values - wanted).square().mean(2) / on_device(spread, found.device)
        return self.weight * difference.mean(1)


def resampled(values: Tensor, count: int) -> Tensor:
    """Sorted values (..., N), given at the levels (i + 1/2) / N, interpolated linearly to ``count`` such levels; constant beyond the ends."""
    stored = values.shape[-1]
    places = ((torch.arange(count, device=values.device) + 0.5) * (stored / count) - 0.5).clamp(0, stored - 1)
    below = places.floor().long()
    above = (below + 1).clamp(max=stored - 1)
    return torch.lerp(values[..., below], values[..., above], (places - below).to(values.dtype))


@functools.lru_cache(maxsize=64)
def _resampled_on(device: torch.device, quantiles: Tensor, count: int) -> Tensor:
    """What a step compares with, made once for each number of positions."""
    with torch.inference_mode(False):  # it is saved for later backward passes
        return resampled(quantiles, count).to(device)


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
