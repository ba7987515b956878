"""Base class of the random transforms: functions of pictures and of random numbers drawn elsewhere."""

from torch import Tensor, nn


class KeyedTransform(nn.Module):
    """A random transform that draws nothing itself: it is handed uniforms keyed by (seed, target, step).

    Attributes:
        draws: how many uniforms it needs per picture and step.
        unit: the length of 1.0 in pixels: the longer side that the network was trained at.
    """

    draws: int = 0
    unit: int = 224

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Transform (B, 3, H, W) pictures with uniforms (B, draws) in [0, 1)."""
        raise NotImplementedError
