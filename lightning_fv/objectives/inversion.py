"""Feature inversion: a picture with the same activations as a photo."""

from torch import Tensor

from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.photo import PhotoObjective


class Inversion(PhotoObjective):
    """How similar a layer's activations are for a picture and for a photo: with the activations a of the picture and p of the photo,
    ``-|a - p|^2 / |p|^2`` over the whole layer (Mahendran & Vedaldi 2015, "Understanding Deep Image Representations by Inverting
    Them", equations 1 and 2, without their image priors).

    0 if they are equal, -1 if the picture's activations are 0. What is missing from a picture reconstructed from noise, the layer
    does not represent.

    Args:
        layer: layer name.
        photo: a file in any raster format that Pillow reads, or (C, H, W) in [0, 1].
        digest: the photo's expected ``digest``; a file with any other photo is refused.
    """

    kind = "inversion"

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found, wanted = self.features(activations)
        return -(found - wanted).square().sum((1, 2)) / wanted.square().sum((1, 2)).clamp(min=1e-12)
