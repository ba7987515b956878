"""Random backgrounds for pictures with an opacity."""

from torch import Tensor

from lightning_fv.functional import composite, resize_images
from lightning_fv.transforms.keyed import KeyedTransform

_CELLS = 4
"""Random colours of a background along each side."""


class RandomBackground(KeyedTransform):
    """Lay pictures with an opacity over a background of random colours, another for every picture and step.

    The colours, 4 x 4 of them, are uniform in [0, 1] and interpolated bilinearly: 16 draws per channel. Lucid
    (``collapse_alpha_random``) takes noise with the spectrum of photos, which would be as many draws as the picture has numbers.

    Args:
        channels: C, without the opacity.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.draws = channels * _CELLS**2

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """(B, C + 1, H, W) pictures and (B, draws) uniforms -> (B, C, H, W)."""
        colours = uniforms.view(-1, self.channels, _CELLS, _CELLS)
        return composite(images, resize_images(colours, (images.shape[-2], images.shape[-1])))
