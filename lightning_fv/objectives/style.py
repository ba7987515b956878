"""Style: which channels of a layer are active together in a photo, regardless of position."""

import torch
from torch import Tensor

from lightning_fv.functional import gram
from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.photo import PhotoObjective


class Style(PhotoObjective):
    """How well a picture matches the style of a photo: with the Gram matrices A of the picture's activations and
    G of the photo's, ``-|A - G|^2 / |G|^2`` (Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks", equations 3
    and 4, whose factor 1 / (4 C^2 P^2) depends only on the layer).

    0 if they are equal, -1 if the picture's activations are 0. For several layers, add them: ``Style("layer1", photo) +
    Style("layer2", photo)``. For style transfer, start from the content photo and subtract `LayerDistance` at a deeper layer, with
    a weight of about 1.

    Args:
        layer: layer name.
        photo: a file in any raster format that Pillow reads, or (C, H, W) in [0, 1].
        digest: the photo's expected ``digest``; a file with any other photo is refused.
    """

    kind = "style"

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found, wanted = self.features(activations)
        scale = wanted.abs().amax((1, 2), keepdim=True)
        scale = torch.where(scale > 0, scale, 1)  # otherwise fourth powers may overflow
        with torch.autocast(found.device.type, enabled=False):
            of_picture, of_photo = gram(found / scale), gram(wanted / scale)
        return -(of_picture - of_photo).square().sum((1, 2)) / of_photo.square().sum((1, 2)).clamp(min=1e-20)
