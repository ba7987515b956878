"""How much neighbouring pixels differ."""

import torch
from torch import Tensor
from torchmetrics import Metric


class TotalVariationDensity(Metric):
    """Mean absolute difference of vertical and horizontal neighbours, averaged over all pictures seen, in [0, 1].

    The anisotropic total variation (Rudin et al. 1992) over the number of pairs, so that pictures of different sizes compare:
    torchmetrics' ``TotalVariation``, which sums over a picture, grows with its area. White noise in [0, 1] has 1/3, a
    checkerboard of black and white pixels 1.

    Shape: update takes (B, C, H, W) in [0, 1], each picture of at least two pixels; compute gives a scalar. A NaN pixel makes it NaN.
    """

    full_state_update = False
    higher_is_better = False
    variation: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("variation", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        from torchmetrics.functional.image import total_variation  # imported here: it takes half a second

        channels, height, width = images.shape[1:]
        pairs = channels * ((height - 1) * width + height * (width - 1))
        self.variation += total_variation(images.float(), reduction="sum") / pairs
        self.total += len(images)

    def compute(self) -> Tensor:
        return self.variation / self.total
