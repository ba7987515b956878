"""The finished pictures on the CPU: copied from the device once, and each encoded once, whoever needs them."""

import weakref

import torch
from torch import Tensor

from lightning_fv.functional import to_uint8
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.picture import encode_picture, encode_png


class FinalPictures:
    """The pictures of a visualizer as they are, on the CPU.

    Attributes:
        images: (B, C, H, W) in [0, 1]; where they are transparent, over mid-grey.
        shown: the same as they are written to files, with an opacity as a further channel if they have one.
        finite: of each, whether it has neither NaN nor infinite values.
    """

    def __init__(self, visualizer: FeatureVisualizer) -> None:
        parameterization = visualizer.parameterization
        with torch.no_grad():
            made = parameterization()
            shown, images = parameterization.shown(made), parameterization.over_grey(made)
            self.shown = shown.cpu()
            self.images = self.shown if images is shown else images.cpu()
        self.finite: list[bool] = (
            self.shown.isfinite().flatten(1).all(1) & self.images.isfinite().flatten(1).all(1)
        ).tolist()
        # Here, since encoding may be on another thread, where an operation of torch would start a second pool of threads.
        self._pixels = [
            to_uint8(image) if finite else None for image, finite in zip(self.images, self.finite, strict=True)
        ]
        self._opaque = self.shown.shape[1] == parameterization.channels
        self._encoded: dict[int, bytes] = {}

    def file(self, row: int) -> bytes:
        """The PNG of a picture for its file, without provenance.

        Raises:
            ValueError: it is not finite.
        """
        return encode_picture(self.shown[row], opaque=False) if not self._opaque else self.preview(row)

    def preview(self, row: int) -> bytes:
        """The PNG of a picture over mid-grey; on any thread.

        Raises:
            ValueError: it is not finite.
        """
        pixels = self._pixels[row]
        if pixels is None:
            raise ValueError("the picture contains NaN or infinite values")
        if row not in self._encoded:
            self._encoded[row] = encode_png(pixels)
        return self._encoded[row]


def final_pictures(visualizer: FeatureVisualizer) -> FinalPictures:
    """The pictures of a visualizer as they are now; the same object as before if they have not changed."""
    values = visualizer.parameterization.values
    state = values._version, visualizer.global_step  # the step too: a fused optimizer does not count as a change
    known = _KNOWN.get(visualizer)
    if known is None or known[0] is not values or known[1] != state:
        known = values, state, FinalPictures(visualizer)
        _KNOWN[visualizer] = known
    return known[2]


_KNOWN: weakref.WeakKeyDictionary[FeatureVisualizer, tuple[Tensor, tuple[int, int], FinalPictures]]
_KNOWN = weakref.WeakKeyDictionary()
