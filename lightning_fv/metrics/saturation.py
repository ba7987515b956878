"""How much of a picture is at the limits of its range."""

import torch
from torch import Tensor
from torchmetrics import Metric


class SaturatedPixels(Metric):
    """Share of values within ``margin`` of 0 or 1, over all pictures seen, in [0, 1].

    Too large a step drives a picture into the flat tails of the sigmoid, where no gradient brings it back.

    Args:
        margin: distance from 0 or 1 that counts as saturated.

    Shape: update takes (B, 3, H, W) in [0, 1]; compute gives a scalar.
    """

    full_state_update = False
    higher_is_better = False
    saturated: Tensor
    total: Tensor

    def __init__(self, margin: float = 0.01) -> None:
        super().__init__()
        self.margin = margin
        self.add_state("saturated", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        self.saturated += _at_limits(images, self.margin).sum()
        self.total += images.numel()

    def compute(self) -> Tensor:
        return self.saturated / self.total


def saturated_share(images: Tensor, margin: float = 0.01) -> Tensor:
    """`SaturatedPixels` of each picture by itself.

    Args:
        images: (B, C, H, W) in [0, 1].
        margin: distance from 0 or 1 that counts as saturated.

    Returns:
        (B,) in [0, 1].
    """
    return _at_limits(images, margin).flatten(1).sum(1) / images[0].numel()


def _at_limits(images: Tensor, margin: float) -> Tensor:
    return (images < margin) | (images > 1 - margin)
