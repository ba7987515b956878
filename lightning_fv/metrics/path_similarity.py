"""Whether pictures take the same path through a network as photos do."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import path_similarity


class PathSimilarity(Metric):
    """`path_similarity` of each of several layers, averaged over the pictures for which it is defined.

    Args:
        layers: their names, in the order of the values.
        least: the shortest scale on which a similarity is defined.

    Shape: update takes three mappings by layer, the activations of pictures (B, C), of photos of their classes (B, K, C) or (K, C), and
    of photos of other classes (M, C); C may differ between layers. compute gives a dict: ``similarity`` (layers,), 0 for photos of other classes and 1 for
    those of the class, NaN if it is defined for no picture; ``undefined`` (layers,), the number of pictures left out of it since
    the layer does not tell their class from others or they have a NaN.
    """

    full_state_update = False
    higher_is_better = True
    similarity: Tensor
    defined: Tensor
    undefined: Tensor

    def __init__(self, layers: Sequence[str], least: float = 1e-3) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.least = least
        self.add_state("similarity", torch.zeros(len(self.layers)), dist_reduce_fx="sum")
        self.add_state("defined", torch.zeros(len(self.layers), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("undefined", torch.zeros(len(self.layers), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, pictures: Mapping[str, Tensor], own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
        for number, layer in enumerate(self.layers):
            values = path_similarity(pictures[layer], own[layer], other[layer], self.least)
            self.similarity[number] += values.nansum()
            self.undefined[number] += values.isnan().sum()
            self.defined[number] += len(values) - values.isnan().sum()

    def compute(self) -> dict[str, Tensor]:
        return {"similarity": self.similarity / self.defined, "undefined": self.undefined}
