"""A random part of the picture, enlarged to its size."""

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms.affine import warped
from lightning_fv.transforms.keyed import KeyedTransform


class RandomCrop(KeyedTransform):
    """Show the network a random part of the picture, of its aspect ratio, enlarged to the picture's size; drawn independently for
    every picture.

    As in MACO (Fel et al. 2023) and feature accentuation (Hamblin et al. 2024, whose code draws sides of 0.05 to 0.99), where several
    crops make one step; here it is one. A small part asks for details that excite the unit by themselves.

    Args:
        smallest, largest: the part's sides, as fractions of the picture's; uniform in between, at a uniform position.
    """

    draws = 3

    def __init__(self, smallest: float = 0.5, largest: float = 1.0) -> None:
        super().__init__()
        if not 0 < smallest <= largest <= 1:
            raise UsageError(
                f"RandomCrop needs 0 < smallest <= largest <= 1, got smallest={smallest}, largest={largest}"
            )
        self.smallest, self.largest = float(smallest), float(largest)

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        return warped(images, self.matrices(uniforms, size), size, "border")

    def matrices(self, uniforms: Tensor, size: tuple[int, int]) -> Tensor:
        """Affine matrices (B, 2, 3) from picture to window coordinates, (x, y) in pixels from the centre of [0, 0].

        Args:
            uniforms: (B, 3) in [0, 1): side, y, x.
            size: (height, width) of the pictures.
        """
        side = self.smallest + (self.largest - self.smallest) * uniforms[:, 0]
        top, left = ((1 - side) * (length - 1) * u for length, u in zip(size, uniforms[:, 1:].unbind(1), strict=True))
        zero, factor = torch.zeros_like(side), 1 / side
        return torch.stack([factor, zero, -left * factor, zero, factor, -top * factor], 1).view(-1, 2, 3)
