"""How a unit's value for a picture compares with its values for photos."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.weights import read_metadata, read_weights
from lightning_fv.runs.digests import digest

SHIPPED = Path(__file__).parents[1] / "assets" / "photo_statistics.safetensors"
"""Quantiles for the embedded networks, written by ``scripts/measure_photos.py``."""

LEVELS = (0, 0.1, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92.5, 95, 97, 98, 99, 99.5, 99.8, 99.9, 100)
"""Percentiles that are kept of each unit."""

SELDOM = 0.001
"""A unit that is above 0 on at most this share of photos hardly ever responds to them, if no unit of its layer is ever below 0."""

FAINT = 0.05
"""Nor does one of such a layer whose highest value is less than this times the median of its units'."""


@dataclass(frozen=True)
class Comparison:
    """A value of a unit among its values for photos.

    Attributes:
        photos: number of photos.
        best: highest value of a photo.
        multiple: the value over the best photo's; None unless that is above 0.
        percentile: share of photos with lower values, in per cent; interpolated if only quantiles are known.
        seldom: whether the unit hardly ever responds to photos (`SELDOM`, `FAINT`).
    """

    photos: int
    best: float
    multiple: float | None
    percentile: float
    seldom: bool

    def scores(self) -> dict[str, float | str]:
        """As further scores of a record: ``photo_percentile``, ``photo_multiple``, and ``photos`` of a unit that hardly ever responds to any."""
        found: dict[str, float | str] = {"photo_percentile": round(self.percentile, 2)}
        if self.multiple is not None:
            found["photo_multiple"] = round(self.multiple, 3)
        if self.seldom:
            found["photos"] = "hardly ever responds"
        return found


class PhotoStatistics:
    """Quantiles of the values of all units of some layers of a network, over photos.

    Args:
        layers: by layer name (C, len(LEVELS)), the percentiles `LEVELS` of each unit, and the share of photos (C,) for which it is above 0.
        photos: number of photos.
    """

    def __init__(self, layers: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]], photos: int) -> None:
        self.layers = dict(layers)
        self.photos = photos

    @classmethod
    def of(cls, layers: Mapping[str, npt.NDArray[np.float32]]) -> "PhotoStatistics":
        """The statistics of values (N, C) by layer name. A unit that is not finite for some photo has none: they are NaN."""
        found = {}
        for layer, values in layers.items():
            quantiles, active = np.empty((values.shape[1], len(LEVELS))), np.empty(values.shape[1])
            for start in range(0, values.shape[1], 64):  # the values may be on disk and larger than memory
                part = np.asarray(values[:, start : start + 64])
                part = np.where(np.isfinite(part).all(0), part, np.nan)
                quantiles[start : start + 64] = np.percentile(part, LEVELS, axis=0).T
                active[start : start + 64] = np.where(np.isnan(part[0]), np.nan, (part > 0).mean(0))
            found[layer] = quantiles, active
        return cls(found, len(next(iter(layers.values()), ())))

    def compare(self, layer: str, unit: int, value: float) -> Comparison | None:
        """A unit's value among those of photos; None if the layer or the unit is not known."""
        quantiles, active = self.layers.get(layer, (np.empty((0, 0)), np.empty(0)))
        if not 0 <= unit < len(quantiles) or not np.isfinite(quantiles[unit]).all() or not np.isfinite(value):
            return None
        best = float(quantiles[unit, -1])
        rectified = np.nanmin(quantiles[:, 0]) >= 0
        faint = best < FAINT * float(np.nanmedian(quantiles[:, -1]))
        seldom = bool(rectified and (faint or float(active[unit]) <= SELDOM))
        multiple = value / best if best > 0 else None
        return Comparison(self.photos, best, multiple, _percentile(value, quantiles[unit]), seldom)


def _percentile(value: float, quantiles: npt.NDArray[Any]) -> float:
    """Share of photos with lower values, in per cent; unlike by np.interp, those of equal values are not among them."""
    above = int(np.searchsorted(quantiles, value))  # the first that is not lower
    if above in (0, len(LEVELS)):
        return 100.0 if above else 0.0
    return float(np.interp(value, quantiles[above - 1 : above + 1], LEVELS[above - 1 : above + 1]))


def network_key(network: VisionNetwork) -> str:
    """What the shipped statistics belong to: weights and preprocessing."""
    return digest(network.digest().encode(), repr((network.mean, network.std, network.input_size)).encode())


@functools.cache
def _shipped() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    return (read_weights(SHIPPED), read_metadata(SHIPPED)) if SHIPPED.is_file() else ({}, {})


def shipped_statistics(network: VisionNetwork) -> PhotoStatistics | None:
    """The package's own statistics of an embedded network over 5,000 photos of Tiny ImageNet; None for any other network, weights or preprocessing."""
    tensors, metadata = _shipped()
    if metadata.get(network.name) is None or metadata[network.name] != network_key(network):
        return None
    prefix, layers = f"{network.name}:", {}
    for name, values in tensors.items():
        if name.startswith(prefix) and not name.endswith(" active"):
            layers[name.removeprefix(prefix)] = values.double().numpy(), tensors[f"{name} active"].double().numpy()
    return PhotoStatistics(layers, int(metadata["photos"]))
