"""Feature inversion: a picture with the activations of a photo."""

from collections.abc import Hashable, Sequence

from torch import Tensor

from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.photo import PhotoObjective


class Inversion(PhotoObjective):
    """How little a layer tells a picture from a photo: with the activations a of the picture and p of the photo,
    ``-|a - p|^2 / |p|^2`` over the whole layer (Mahendran & Vedaldi 2015, "Understanding Deep Image Representations by Inverting
    Them", equations 1 and 2, without their priors of pictures).

    0 where they are the same, -1 where the activations are 0. What a picture that starts from noise does not show again,
    the layer does not keep.

    Args:
        layer: layer name.
        photo: a file in any raster format that Pillow reads, or (C, H, W) in [0, 1].
        digest: of the photo, as ``digest`` gives it: another photo in the file is refused.
    """

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found, wanted = self.features(activations)
        return -(found - wanted).square().sum((1, 2)) / wanted.square().sum((1, 2)).clamp(min=1e-12)

    def text(self, categories: Sequence[str] = ()) -> str:
        return self.written("inversion") if type(self) is Inversion else repr(self)

    @property
    def stack_key(self) -> Hashable:
        return (Inversion, self.layer) if type(self) is Inversion else super().stack_key
