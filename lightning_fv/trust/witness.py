"""A network with what its stages respond to photos, to look at pictures with."""

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
from lightning_fv.networks.capture import LOGITS
from lightning_fv.networks.stages import stage_layers
from lightning_fv.objectives import Objective
from lightning_fv.photos.activations import PhotoActivations, photo_activations
from lightning_fv.photos.folder import PhotoFolder

ROWS = 4096
"""Photos whose responses are read from disk at a time."""


@dataclass
class Witness:
    """A network, and what it responds to photos.

    Attributes:
        network: looks at pictures.
        stages: names of its stages from input to output, the last of them the logits.
        photos: its responses to photos.
        scale: by stage the mean and the standard deviation of each channel over photos, (C,) each.
    """

    network: VisionNetwork
    stages: list[str]
    photos: PhotoActivations
    scale: dict[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(
        cls,
        network: VisionNetwork,
        folder: PhotoFolder,
        layers: Collection[str] = (),
        objectives: Sequence[Objective] = (),
        cache: Path | None = None,
    ) -> "Witness":
        """Show the photos to a network, or read from the cache what it responded; see `lightning_fv.photos.activations`.

        Args:
            network: which network.
            folder: the photos.
            layers: further layers of which all units are recorded.
            objectives: further objectives to evaluate.
            cache: where responses are kept.

        Raises:
            UsageError: no photo can be read, or the cache cannot be written.
        """
        stages = stage_layers(network)
        photos = photo_activations(network, folder, {*stages, *layers}, objectives, cache, progress=True)
        return cls(network, stages, photos, {stage: _scale(photos.layers[stage]) for stage in stages})

    def means(self, pictures: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Mean over positions of every channel, by layer (B, C), of pictures (B, 3, H, W) in [0, 1], on the CPU.

        Pictures of another size than photos are shown at that of photos.
        """
        with self.network.frozen(), torch.no_grad():
            shown = resize_images(pictures, self.network.input_size).clamp(0, 1).to(self.network.device)
            found = self.network.activations(shown, layers)
        return {
            layer: values.float().flatten(2).mean(2).cpu() if values.ndim > 2 else values.float().cpu()
            for layer, values in found.items()
        }

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
        last = max(
            (order.get(layer.partition("#")[0].partition("[")[0], len(order)) for layer in layers), default=len(order)
        )
        found = [stage for stage in self.stages if order[stage] <= last]
        return [stage for stage in found if stage != LOGITS or LOGITS in layers] or self.stages[:1]


def _scale(values: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    total, squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for start in range(0, len(values), ROWS):
        part = np.asarray(values[start : start + ROWS], np.float64)
        total, squares = total + part.sum(0), squares + np.square(part).sum(0)
    mean = total / len(values)
    std = np.sqrt(np.maximum(squares / len(values) - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(np.maximum(std, 1e-6)).float()
