"""Diversity: several pictures of one unit are kept from looking alike (Olah et al. 2017, section "Diversity").

Instead of its objective o, each picture maximises o - weight |o| s. The similarity s, in [0, 1], is the mean cosine between the
Gram matrix of the picture's activations and those of the unit's other pictures, all of them after transforms. |o| and the other
pictures are constants in this. Only pictures of the same unit are compared.

The factor |o| lets one weight suit logits of 20 and channels of 3. Lucid and Lucent subtract a multiple of s alone, whose weight
has to be found for each unit.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_fv.functional import gram_cosine
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.capture import LOGITS, LayerInfo, parse_layer
from lightning_fv.objectives import Activations, Objective
from lightning_fv.targets import Target, check_layer


@dataclass(frozen=True)
class PicturesOfUnit:
    """Several pictures of one unit in a batch.

    Attributes:
        rows: those of the batch.
        layer: at which they are compared.
    """

    rows: range
    layer: str

    def within(self, first: int, count: int) -> range:
        """Those of ``rows`` that are among ``count`` rows from ``first``; may be empty."""
        return range(max(self.rows.start, first), min(self.rows.stop, first + count))


class Comparison:
    """Compares the pictures of each unit that has several in a batch, in chunks or as a whole.

    Args:
        network: the network to visualize.
        targets: one per picture; those of a unit one after another.
        layer: at which they are compared; default: see `layer_to_compare`.
    """

    def __init__(self, network: VisionNetwork, targets: Sequence[Target], layer: str | None = None) -> None:
        self._network = network
        self.units: list[PicturesOfUnit] = []
        for _, group in itertools.groupby(enumerate(targets), lambda pair: (pair[1].facets, pair[1].objective.key)):
            members = list(group)
            (first, target), count = members[0], len(members)
            if target.facets > 1 and count > 1:
                where = layer or layer_to_compare(target.objective, network)
                self.units.append(PicturesOfUnit(range(first, first + count), where))

    def layers(self, first: int, count: int) -> set[str]:
        """Layers at which some of ``count`` pictures from ``first`` are compared."""
        return {unit.layer for unit in self.units if unit.within(first, count)}

    def features_of_cut(self, seen: Tensor, chunk: int) -> dict[PicturesOfUnit, Tensor]:
        """Features of all pictures of those units that are cut into several chunks, for `similarity`; no gradient.

        Args:
            seen: (B, C, H, W), the batch as the network sees it.
            chunk: pictures in a forward pass.
        """
        return self._features(seen, chunk, [u for u in self.units if u.rows[0] // chunk != u.rows[-1] // chunk])

    def similarity(
        self, activations: Activations, first: int, count: int, of_cut: Mapping[PicturesOfUnit, Tensor]
    ) -> Tensor | None:
        """How much each picture of a chunk looks like the others of its unit, (count,), 0 for the only one.

        Args:
            activations: of the chunk.
            first, count: rows of the batch that the chunk is made of.
            of_cut: features of all pictures of the units that are cut.

        Returns:
            See `mean_similarity`; None if no unit has several pictures here.
        """
        values = None
        for unit in self.units:
            if rows := unit.within(first, count):
                own = features(activations[unit.layer][rows.start - first : rows.stop - first])
                similarity = mean_similarity(own, of_cut.get(unit, own), rows.start - unit.rows.start)
                values = own.new_zeros(count) if values is None else values
                values = values.slice_scatter(similarity, 0, rows.start - first, rows.stop - first)
        return values

    def of_pictures(self, images: Tensor, chunk: int) -> Tensor:
        """How much each picture looks like the others of its unit, (B,), NaN for the only one, without a gradient."""
        values = images.new_full((len(images),), torch.nan)
        for unit, found in self._features(images, chunk, self.units).items():
            values[unit.rows.start : unit.rows.stop] = mean_similarity(found, found)
        return values

    @torch.no_grad()
    def _features(self, seen: Tensor, chunk: int, units: Sequence[PicturesOfUnit]) -> dict[PicturesOfUnit, Tensor]:
        """Features of all pictures of some units, (N, C, P) of each, from a forward pass per chunk that holds any."""
        found: dict[PicturesOfUnit, list[Tensor]] = {unit: [] for unit in units}
        for first in range(0, len(seen), chunk):
            if here := {unit: rows for unit in units if (rows := unit.within(first, chunk))}:
                activations = self._network.activations(seen[first : first + chunk], {unit.layer for unit in here})
                for unit, rows in here.items():
                    found[unit].append(features(activations[unit.layer][rows.start - first : rows.stop - first]))
        return {unit: torch.cat(parts) for unit, parts in found.items()}


def layer_to_compare(objective: Objective, network: VisionNetwork) -> str:
    """The layer at which an objective's pictures are compared: the deepest that it reads, as in Lucid; for logits, the last
    block before the network's last reduction of resolution (``layer3`` of a ResNet), or the last layer with a map.

    Eight classes of the demo network, four pictures each, were compared at layer3 and at layer4 with a weight of 2. For pictures
    that differ as much by the features of a separately trained network (mean cosine 0.41 and 0.40), layer3 leaves higher logits
    (15.7 and 14.8; 18.9 without diversity), and such networks recognize the classes better (mean probability 0.93 and 0.85).

    Args:
        objective: reads layers of the network, or none.
        network: has been probed.
    """
    infos = network.layers()
    order = {info.name: number for number, info in enumerate(infos)}
    read = [layer for layer in objective.layers if layer != LOGITS]
    if read:
        return max(read, key=lambda layer: (order.get(parse_layer(layer)[0], -1), layer))
    maps = [info for info in infos if info.name != LOGITS and info.calls == 1 and _positions(info) > 1]
    larger = [info for info in maps if _positions(info) > _positions(maps[-1])]
    blocks = [info for info in larger if any(name.startswith(f"{info.name}.") for name in order)]
    return next((found[-1].name for found in (blocks, larger, maps) if found), LOGITS)


def _positions(info: LayerInfo) -> int:
    """Positions of a layer's map, or tokens; 0 if it has no channels."""
    return math.prod(info.shape[1:]) // info.units if info.shape is not None and info.units else 0


def features(activations: Tensor) -> Tensor:
    """Activations (B, C, ...) as channels by positions, (B, C, P), float32."""
    return activations.reshape(*activations.shape[:2], -1).float()


def mean_similarity(own: Tensor, of_all: Tensor, first: int = 0) -> Tensor:
    """How much pictures look like the others of their unit, (n,), in [0, 1]; the gradient is that of ``own`` alone.

    Args:
        own: (n, C, P) features of some pictures of a unit.
        of_all: (N, C, P) of all of them, N at least 2; those that are not finite resemble none.
        first: which of all is the first of ``own``.
    """
    with torch.autocast(own.device.type, enabled=False):
        finite = of_all.flatten(1).isfinite().all(1).view(-1, 1, 1)
        cosines = gram_cosine(own, torch.where(finite, of_all.detach(), 0))
        return (cosines.sum(1) - cosines.diagonal(first)) / (len(of_all) - 1)


def check_layers(
    network: VisionNetwork, targets: Sequence[Target], layer: str | None, size: tuple[int, int]
) -> set[str]:
    """Check the layers at which pictures are compared: while they are rendered, or in their scores alone.

    Args:
        network: the network to visualize.
        targets: all of the run.
        layer: the recipe's ``diversity_layer``.
        size: (height, width) of the pictures.

    Returns:
        The layers' names; none if no target has several pictures.

    Raises:
        FeatureVisualizationError: the network has no such layer, or it cannot be read.
    """
    layers = Comparison(network, targets, layer).layers(0, len(targets))
    for name in layers:
        check_layer(name, network, size)
    return layers
