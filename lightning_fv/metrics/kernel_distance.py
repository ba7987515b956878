"""How far pictures as a set are from photos."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lightning_fv.functional import polynomial_mmd


class KernelDistance(Metric):
    """Kernel distance of pictures from photos (KID, Binkowski et al. 2018) by features of any network: `polynomial_mmd`.

    torchmetrics' ``KernelInceptionDistance`` draws random subsets from the global generator; this takes all features at once,
    so that it is a function of them. The distance depends on the features' scale: standardize them, so that their mean square is about 1.

    Args:
        least: pictures and photos that are needed, at least 2. Chance alone puts 10 photos at 0 ± 0.11 from 1,000 others (standard
            deviation), 50 at 0 ± 0.025 and 200 at 0 ± 0.007; blurred photos (2 px of 64) are at 2.9 and white noise at 6.0. Measured
            on photos of Tiny ImageNet, with standardized features of mean square 1.

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
        pictures, photos = _rows(self.pictures), _rows(self.photos)
        if min(len(pictures), len(photos)) < self.least:
            raise ValueError(
                f"{len(pictures)} pictures and {len(photos)} photos: the kernel distance takes at least {self.least} of each"
            )
        return polynomial_mmd(pictures, photos).float()


def _rows(features: list[Tensor]) -> Tensor:
    """All rows as one tensor; torchmetrics has joined those of several processes before."""
    return dim_zero_cat(features) if len(features) else torch.empty(0, 1)
