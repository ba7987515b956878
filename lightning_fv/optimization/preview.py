"""A grid of the pictures as they are during a render: made once and encoded once, whoever shows it."""

import threading
import weakref

from torch import Tensor

from lightning_fv.functional import finite_uint8, resize_images
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.picture import encode_jpeg


class Preview:
    """A grid of thumbnails.

    Attributes:
        pixels: (3, H, W) of 0..255, on the CPU.
    """

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self._jpeg: bytes | None = None
        self._lock = threading.Lock()

    def jpeg(self) -> bytes:
        """The grid as a JPEG; on any thread."""
        with self._lock:
            if self._jpeg is None:
                self._jpeg = encode_jpeg(self.pixels)
            return self._jpeg


def preview(visualizer: FeatureVisualizer, pictures: int, side: int) -> Preview | None:
    """A grid of a visualizer's pictures as they are now, over mid-grey; None if a value is NaN or infinite: it would look black.

    Args:
        visualizer: whose pictures are shown.
        pictures: maximum number of them; the first ones.
        side: maximum longer side of a thumbnail, in pixels.
    """
    values, (height, width) = visualizer.parameterization.values, visualizer.size
    scale = min(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    count = min(pictures, len(visualizer.targets))
    state = values._version, visualizer.global_step  # the step too: a fused optimizer does not count as a change
    known = _KNOWN.get(visualizer)
    if known is None or known[0] is not values or known[1] != state:
        known = _KNOWN[visualizer] = values, state, {}
    if (count, size) not in known[2]:
        known[2][count, size] = _grid(visualizer, count, size)
    return known[2][count, size]


def _grid(visualizer: FeatureVisualizer, count: int, size: tuple[int, int]) -> Preview | None:
    from torchvision.utils import make_grid  # here: torchvision takes a second to import

    pixels = finite_uint8(resize_images(visualizer.pictures()[:count], size))
    if pixels is None:
        return None
    return Preview(make_grid(pixels, nrow=max(1, round(count**0.5 + 0.49)), pad_value=255))


_Known = tuple[Tensor, tuple[int, int], dict[tuple[int, tuple[int, int]], Preview | None]]
_KNOWN: weakref.WeakKeyDictionary[FeatureVisualizer, _Known] = weakref.WeakKeyDictionary()
