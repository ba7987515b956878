"""The photos that a unit responds to most and least, as thumbnails in the run folder."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.capture import LOGITS
from lightning_fv.objectives import Objective
from lightning_fv.photos.activations import PhotoActivations, read_photos, unit_of
from lightning_fv.runs.digests import digest
from lightning_fv.runs.evidence import Example
from lightning_fv.runs.files import write_atomic
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import encode_jpeg

BEST, LEAST = 6, 3
"""How many photos are shown."""

ENERGY = 0.8
"""Share of the gradient's energy within the crop."""


def examples(
    run: RunFolder,
    network: VisionNetwork,
    photos: PhotoActivations,
    objective: Objective,
    values: npt.NDArray[np.float32],
) -> tuple[list[Example], list[Example]]:
    """Write thumbnails of the photos that an objective is highest and lowest for.

    Args:
        run: where; photos that several units have in common are written once.
        network: whose objective.
        photos: all photos.
        objective: of which.
        values: (N,), its values for the photos; those that are not finite are left out.

    Returns:
        The best, the highest first, and the least, the lowest first.

    Raises:
        UsageError: a photo can no longer be read.
        OSError: a thumbnail cannot be written.
    """
    order = np.argsort(np.where(np.isfinite(values), values, -np.inf), kind="stable")[::-1]
    order = order[: np.isfinite(values).sum()]
    best, least = order[:BEST], order[::-1][:LEAST]
    pixels = read_photos(network, [photos.entries[row] for row in best])
    boxes = crops(network, objective, pixels)
    shown = [
        _example(run, photos, row, values, picture, box) for row, picture, box in zip(best, pixels, boxes, strict=True)
    ]
    others = read_photos(network, [photos.entries[row] for row in least])
    whole = (0.0, 0.0, 1.0, 1.0)
    return shown, [
        _example(run, photos, row, values, picture, whole) for row, picture in zip(least, others, strict=True)
    ]


def _example(
    run: RunFolder,
    photos: PhotoActivations,
    row: np.int64,
    values: npt.NDArray[np.float32],
    pixels: Tensor,
    box: tuple[float, float, float, float],
) -> Example:
    content = encode_jpeg(pixels if len(pixels) == 3 else pixels[:1].expand(3, -1, -1), quality=85)
    file = run.thumbnail(digest(content))
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, lambda opened: opened.write(content), durable=False)
    return Example(photos.entries[int(row)].name, float(values[row]), run.relative(file), box)


def crops(network: VisionNetwork, objective: Objective, pixels: Tensor) -> list[tuple[float, float, float, float]]:
    """What a unit saw of photos: the smallest square, around the centre of the gradient's energy, that holds `ENERGY` of it.

    The gradient is that of the unit's highest activation on its map with respect to the photo, so that the square follows the receptive field as far as it is
    used. Of a logit, or of something else than a unit, it is the whole photo.

    Args:
        network: the unit's.
        objective: the unit.
        pixels: (B, C, H, W), uint8.

    Returns:
        For each photo left, top, right, bottom as shares of its sides.
    """
    unit = unit_of(objective)
    whole = [(0.0, 0.0, 1.0, 1.0)] * len(pixels)
    if unit is None or unit[0] == LOGITS:
        return whole
    images = (pixels.float() / 255).to(network.device).requires_grad_()
    with network.frozen(), torch.enable_grad():
        activation = network.activations(images, [unit[0]])[unit[0]]
        if activation.ndim < 3:
            return whole
        peaks = activation[:, unit[1]].flatten(1).amax(1)
        (gradient,) = torch.autograd.grad(peaks.sum(), images)
    return [_box(energy) for energy in gradient.square().sum(1).cpu()]


def _box(energy: Tensor) -> tuple[float, float, float, float]:
    height, width = energy.shape
    total = float(energy.sum())
    if not total > 0:
        return 0.0, 0.0, 1.0, 1.0
    y = int((energy.sum(1) * torch.arange(height)).sum() / total + 0.5)
    x = int((energy.sum(0) * torch.arange(width)).sum() / total + 0.5)
    half = next(
        h
        for h in range(1, max(height, width) + 1)
        if float(energy[max(0, y - h) : y + h, max(0, x - h) : x + h].sum()) >= ENERGY * total
    )
    box: Sequence[float] = (
        max(0, x - half) / width,
        max(0, y - half) / height,
        min(width, x + half) / width,
        min(height, y + half) / height,
    )
    return box[0], box[1], box[2], box[3]
