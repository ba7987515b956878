"""A network and the responses of its stages to photos, against which pictures are compared."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_fv.functional import resize_images
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.capture import LOGITS, parse_layer
from lightning_fv.networks.stages import stage_layers
from lightning_fv.objectives import Objective
from lightning_fv.photos.activations import PhotoActivations, photo_activations
from lightning_fv.photos.folder import PhotoFolder

ROWS = 4096
"""Photos whose responses are read from disk at a time."""

BATCH = 64
"""Pictures that pass through a network together."""


@dataclass
class NetworkResponses:
    """A network, and what it responds to photos.

    Attributes:
        network: looks at pictures.
        stages: names of its stages from input to output, the last of them the logits.
        photos: its responses to photos.
        scale: by stage the mean and the standard deviation of each channel over photos, (C,) each; infinite for a channel that is the same
            for all photos, so that it counts for nothing; NaN for one that is not finite for some photo.
        not_finite: photos for which some stage is not finite.
    """

    network: VisionNetwork
    stages: list[str]
    photos: PhotoActivations
    scale: dict[str, tuple[Tensor, Tensor]]
    not_finite: int = 0

    @classmethod
    def of(
        cls,
        network: VisionNetwork,
        folder: PhotoFolder,
        objectives: Sequence[Objective] = (),
        cache: Path | None = None,
    ) -> "NetworkResponses":
        """Compute a network's responses to the photos, or read them from the cache; see `lightning_fv.photos.activations`.

        Args:
            network: which network.
            folder: the photos.
            objectives: further objectives to evaluate.
            cache: where responses are kept.

        Raises:
            UsageError: no photo can be read, or the cache cannot be written.
        """
        stages = stage_layers(network)
        photos = photo_activations(network, folder, stages, objectives, cache, progress=True)
        scale = {stage: _scale(photos.layers[stage]) for stage in stages}
        return cls(network, stages, photos, scale, _count_not_finite([photos.layers[stage] for stage in stages]))

    def means(self, pictures: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Mean over positions of every channel, by layer (B, C), of pictures (B, 1 or 3, H, W) in [0, 1], on the CPU.

        Pictures of another size than photos are shown at that of photos, and grey to a network of colours and the other way round.
        """
        shown = _with_channels(resize_images(pictures, self.network.input_size).clamp(0, 1), self.network.channels)
        parts = []
        with self.network.frozen(), torch.no_grad():
            for some in torch.split(shown, BATCH):
                found = self.network.activations(some.to(self.network.device), layers)
                parts.append({layer: _positions_averaged(values).cpu() for layer, values in found.items()})
        return {layer: torch.cat([part[layer] for part in parts]) for layer in layers}

    def features(self, means: dict[str, Tensor], stages: Sequence[str]) -> Tensor:
        """Features (B, F) of pictures or photos: each stage's channels standardized over photos, and each stage scaled to the same length."""
        parts = []
        for stage in stages:
            mean, std = self.scale[stage]
            parts.append(torch.nn.functional.normalize((means[stage] - mean) / std, dim=1))
        return torch.cat(parts, 1) / math.sqrt(len(parts))

    def of_photos(self, rows: npt.NDArray[np.int64] | Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """What the stages respond to some photos, by stage (n, C)."""
        rows = np.asarray(rows)
        order = np.argsort(rows)  # on disk, read in order
        found = {}
        for stage in stages:
            values = np.empty((len(rows), self.photos.layers[stage].shape[1]), np.float32)
            values[order] = self.photos.layers[stage][rows[order]]
            found[stage] = torch.from_numpy(values)
        return found

    def before(self, layers: Collection[str]) -> list[str]:
        """The stages that run before any of these layers is complete, or with it: what the picture passes on its way to them."""
        order = {info.name: number for number, info in enumerate(self.network.layers())}
        last = max((order.get(parse_layer(layer)[0], len(order)) for layer in layers), default=len(order))
        found = [stage for stage in self.stages if order[stage] <= last]
        return [stage for stage in found if stage != LOGITS or LOGITS in layers] or self.stages[:1]

    def compared(self, layers: Collection[str]) -> str:
        """The layer in which a picture of a unit of some layers is compared with photos: the unit's own, if there are photos' responses and it is not the
        logits, of which a picture has few; else the last stage before it is complete."""
        if len(layers) == 1 and (own := next(iter(layers))) in self.photos.layers and own != LOGITS:
            return own
        before = [stage for stage in self.before(layers) if stage != LOGITS]
        return before[-1] if before else self.stages[0]


def _positions_averaged(activation: Tensor) -> Tensor:
    return activation.float().flatten(2).mean(2) if activation.ndim > 2 else activation.float()


def _scale(values: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    total, squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for start in range(0, len(values), ROWS):
        part = np.asarray(values[start : start + ROWS], np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite becomes NaN
            total, squares = total + part.sum(0), squares + np.square(part).sum(0)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = total / len(values)
        std = np.sqrt(np.maximum(squares / len(values) - mean**2, 0))
    mean[~np.isfinite(std)] = std[~np.isfinite(std)] = np.nan
    std[std <= 1e-6 * np.abs(mean)] = np.inf  # what rounding leaves of a constant
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()


def _count_not_finite(layers: Sequence[npt.NDArray[np.float32]]) -> int:
    starts = range(0, len(layers[0]), ROWS)
    return sum(
        int(np.any([~np.isfinite(values[start : start + ROWS]).all(1) for values in layers], axis=0).sum())
        for start in starts
    )


def _with_channels(pictures: Tensor, channels: int) -> Tensor:
    """Pictures (B, C, H, W) of 1 or 3 channels with 3 or 1, by the weights of ITU-R BT.601 as Pillow's; others are left to the network to refuse."""
    if pictures.shape[1] == 3 and channels == 1:
        return (pictures * pictures.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return pictures.expand(-1, 3, -1, -1) if pictures.shape[1] == 1 and channels == 3 else pictures
