"""Complexity of a picture along its border."""

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import box_blur
from lightning_fv.objectives.penalty import GreyPenalty


class Boundary(GreyPenalty):
    """Variation and distance from grey in a frame along the border, so that the content stays inside: the mean over the
    frame of ``(x - blur(x))^2 + 0.8 (x - center)^2`` (``penalize_boundary_complexity`` in Lucid, which uses the sum; its frame is 20
    pixels wide, for pictures of 128). The blur is a weighted 5x5 mean in which the outer pixels count half.

    Args:
        weight: factor. With 1000, the frame is almost grey for the demo network's classes, whose logits fall by a tenth.
        width: width of the frame as a fraction of the picture's shorter side, above 0 and at most a half; at least one pixel.
        center: the grey value, in [0, 1].
    """

    def __init__(self, weight: float = 1.0, width: float = 20 / 128, center: float = 0.5) -> None:
        super().__init__(weight, center)
        if not 0 < width <= 0.5:
            raise UsageError(
                f"Boundary needs a width above 0 and at most a half, a fraction of the picture, got {width}"
            )
        self.width = width

    def measure(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        reach = max(1, round(self.width * min(height, width)))
        mask = images.new_ones(height, width)
        mask[reach : height - reach, reach : width - reach] = 0
        penalized = (images - box_blur(images, 5)).square() + 0.8 * (images - self.center).square()
        return (penalized * mask).sum((1, 2, 3)) / (mask.sum() * images.shape[1])
