"""How much several pictures of a unit differ."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import feature_distances, mean_of_pairs


class FeatureDiversity(Metric):
    """Mean distance of pairs of pictures of one unit (its facets, or its pictures by several seeds), averaged over units.

    The distance is `feature_distances`, LPIPS without learned weights, from any network's layers.

    Shape: update takes the activations of the pictures of one unit, (B, C, H, W) of each layer, B at least 2; compute gives a
    scalar in [0, 4 per layer], 0 for pictures that are all alike. NaN for a NaN activation.

    Raises:
        ValueError: a unit of fewer than two pictures.
    """

    full_state_update = False
    higher_is_better = True
    distance: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("distance", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, layers: Sequence[Tensor]) -> None:
        if not layers or len(layers[0]) < 2:
            raise ValueError("diversity is that of at least two pictures of a unit, in at least one layer")
        self.distance += mean_of_pairs(feature_distances(layers))
        self.total += 1

    def compute(self) -> Tensor:
        return self.distance / self.total
