"""How far pictures as a set are from photos."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lightning_fv.functional import polynomial_mmd


class KernelDistance(Metric):
    """Kernel distance of pictures from photos (KID, Binkowski et al. 2018) by features of any network: `polynomial_mmd`.

    torchmetrics' ``KernelInceptionDistance`` draws random subsets from the global generator; this takes all features at once,
    so that it is a function of them.

    Args:
        least: pictures and photos that are needed, as MEASURED.

    Shape: update takes features (B, D) and whether they are of photos; compute gives a scalar, lower is better, about 0 for
    pictures that are distributed as the photos are. NaN for a NaN feature.

    Raises:
        ValueError: in compute, fewer than ``least`` of either.
    """

    full_state_update = False
    higher_is_better = False
    pictures: list[Tensor]
    photos: list[Tensor]

    def __init__(self, least: int = 50) -> None:
        super().__init__()
        self.least = least
        self.add_state("pictures", [], dist_reduce_fx="cat")
        self.add_state("photos", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, photos: bool) -> None:
        (self.photos if photos else self.pictures).append(features)

    def compute(self) -> Tensor:
        # After torchmetrics has gathered them from several processes, each list is a tensor.
        found = [
            dim_zero_cat(features) if len(features) else torch.empty(0, 1) for features in (self.pictures, self.photos)
        ]
        if min(map(len, found)) < self.least:
            raise ValueError(
                f"{len(found[0])} pictures and {len(found[1])} photos: the kernel distance takes at least {self.least} of each"
            )
        return polynomial_mmd(*found).float()
