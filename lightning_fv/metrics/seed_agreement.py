"""Whether another seed gives a picture of the same thing."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import mean_of_pairs


class SeedAgreement(Metric):
    """Mean cosine similarity of pairs of pictures of one unit by several seeds, averaged over units, in [-1, 1].

    Features are means over positions, standardized over photos: x' = (x - mean) / std, so that 0 is the similarity of unrelated
    photos. Pictures have in common that they are no photos; compare with the agreement of pictures of different units.

    Args:
        mean, std: (F,) of each feature, over photos. A feature that is the same for all photos (a ``std`` of 0) is left out.

    Shape: update takes the features (S, F) of the pictures of one unit, S at least 2; compute gives a scalar. NaN for a NaN feature, or
    for a picture with exactly the mean features, which has no direction.

    Raises:
        ValueError: a unit of fewer than two pictures.
    """

    full_state_update = False
    higher_is_better = True
    mean: Tensor
    std: Tensor
    cosine: Tensor
    total: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.add_state("cosine", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        if len(features) < 2:
            raise ValueError("agreement is that of at least two pictures of a unit")
        varies = self.std != 0
        standardized = ((features.float() - self.mean) / self.std)[:, varies]
        unit = standardized / standardized.norm(dim=1, keepdim=True)
        self.cosine += mean_of_pairs(unit @ unit.T)
        self.total += 1

    def compute(self) -> Tensor:
        return self.cosine / self.total
