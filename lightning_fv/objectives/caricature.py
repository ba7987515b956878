"""Caricature: what a layer finds in a photo, exaggerated."""

import math
from collections.abc import Hashable, Sequence
from pathlib import Path

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.direction import LEAST_COSINE
from lightning_fv.objectives.photo import PhotoObjective


class Caricature(PhotoObjective):
    """Activations in the direction of a photo's, as strong as possible: with the activations a of the picture and p of the photo, over the
    whole layer, ``a.p / |p| * max(cos(a, p), 0.1)^n`` (``dot_compare`` in lucid/recipes/caricature.py; Olah et al. 2018, "The Building Blocks
    of Interpretability", use it with n = 0 to invert photos).

    Lucid does not divide its cosine by the norm of p, so that its lower bound of 0.1 means something different for each layer.

    Args:
        layer: layer name.
        photo: a file in any raster format that Pillow reads, or (C, H, W) in [0, 1].
        cosine_power: n, at least 0: with 0, only the projection onto the photo's activations counts; above 0, also how well the
            directions agree.
        digest: the photo's expected ``digest``; a file with any other photo is refused.
    """

    kind = "caricature"

    def __init__(
        self, layer: str, photo: str | Path | Tensor, cosine_power: float = 1.0, digest: str | None = None
    ) -> None:
        super().__init__(layer, photo, digest)
        if not 0 <= cosine_power < math.inf:
            raise TargetError(f"Caricature needs a finite cosine_power of at least 0, got {cosine_power}")
        self.cosine_power = float(cosine_power)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found, wanted = (features.flatten(1) for features in self.features(activations))
        along: Tensor = (found * wanted).sum(1) / wanted.norm(dim=1).clamp(min=1e-6)
        if self.cosine_power:
            cosine = along / found.norm(dim=1).clamp(min=1e-6)
            along = along * cosine.clamp(min=LEAST_COSINE) ** self.cosine_power
        return along

    def text(self, categories: Sequence[str] = ()) -> str:
        return super().text(categories) if self.cosine_power == 1 else repr(self)

    @property
    def stack_key(self) -> Hashable:
        return super().stack_key, self.cosine_power
