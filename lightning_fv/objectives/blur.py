"""Distance of pictures from their blurred selves."""

from torch import Tensor

from lightning_fv.functional import box_blur
from lightning_fv.objectives.penalty import Penalty


class Blur(Penalty):
    """Mean squared distance from the blurred picture, which counts as a constant: ``mean (x - blur(x))^2``.

    Its gradient, ``2 (x - blur(x))`` over the number of values, moves each pixel towards the blurred one, so that descent on
    pixels blurs the picture a little in each step (``blur_input_each_step`` in Lucid, which has half the sum; Nguyen et al. 2015,
    "Deep Neural Networks are Easily Fooled"). The blur is a mean over 3x3 pixels, the middle one counted twice.

    Args:
        weight: factor. With 1000, the demo network's classes lose fine grain and 4% of their logits; with 10,000 they are blurred.
    """

    def measure(self, images: Tensor) -> Tensor:
        return (images - box_blur(images, 3).detach()).square().flatten(1).mean(1)
