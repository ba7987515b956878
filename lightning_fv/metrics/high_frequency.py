"""How much of a picture is noise."""

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import frequencies


class HighFrequencyEnergy(Metric):
    """Share of a picture's energy (without its mean) above a frequency, averaged over all pictures seen, in [0, 1].

    Above half the Nyquist frequency, photos have the share given by `natural_high_frequency` and white noise has
    1 - pi / 16 = 0.80; a picture of a single colour counts as 0.

    Args:
        cutoff: in units of the Nyquist frequency of the longer side.

    Shape: update takes (B, 3, H, W) in [0, 1]; compute gives a scalar.
    """

    full_state_update = False
    higher_is_better = False
    energy: Tensor
    total: Tensor

    def __init__(self, cutoff: float = 0.5) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.add_state("energy", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        images = images.float()
        power = torch.fft.rfft2(images - images.mean((2, 3), keepdim=True)).abs().square()
        if width > 1:  # in a half spectrum each inner column stands for two
            last = -1 if width % 2 == 0 else None
            power[..., 1:last] *= 2
        power[..., 0, 0] = 0
        high = frequencies(height, width).to(images.device) > self.cutoff * max(height, width) / 2
        share = (power * high).sum((1, 2, 3)) / power.sum((1, 2, 3)).clamp_min(1e-10 * (height * width) ** 2)
        self.energy += share.sum()
        self.total += len(images)

    def compute(self) -> Tensor:
        return self.energy / self.total


def natural_high_frequency(side: int) -> float:
    """The `HighFrequencyEnergy` of natural photos above half the Nyquist frequency.

    0.07 at 64 px, 0.0375 at 224: a power law fitted to the means over 1000 ImageNet photos downscaled to that
    side with a bicubic filter (scripts/build_spectrum.py). Tiny ImageNet, downscaled less carefully, has 0.15 at 64.

    Args:
        side: longer side of the picture in pixels.
    """
    return 0.0685 * math.pow(side / 64, -0.496)
