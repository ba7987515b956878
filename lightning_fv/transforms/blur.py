"""A random blur."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import blur_reach
from lightning_fv.transforms.keyed import KeyedTransform


class RandomBlur(KeyedTransform):
    """Blur the pictures by a Gaussian of random width, drawn independently for every picture. Beyond its border a picture
    continues with the border's colours.

    Args:
        smallest, largest: standard deviation, fractions of the network's training size, uniform in between.
    """

    draws = 1

    def __init__(self, smallest: float = 1 / 224, largest: float = 1.1 / 224) -> None:
        super().__init__()
        if not 0 < smallest <= largest < math.inf:
            raise UsageError(
                f"RandomBlur needs finite 0 < smallest <= largest, got smallest={smallest}, largest={largest}"
            )
        self.smallest, self.largest = smallest, largest

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        sigma = self.unit * (self.smallest + (self.largest - self.smallest) * uniforms)  # (B, 1)
        reach = blur_reach(self.largest * self.unit)
        if reach >= min(height, width):
            raise UsageError(
                f"RandomBlur blurs {reach} px to each side, but the pictures are {height}x{width} px; set a smaller largest"
            )
        places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp(-0.5 * (places / sigma) ** 2)
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]  # (B C, 1, taps)
        planes = F.pad(images.reshape(1, batch * channels, height, width), (reach,) * 4, mode="replicate")
        for kernels in (kernel[:, :, None], kernel[..., None]):
            planes = F.conv2d(planes, kernels, groups=batch * channels)
        return planes.view(images.shape)
