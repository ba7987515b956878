"""L2 distance to a grey value."""

from torch import Tensor

from lightning_fv.objectives.penalty import GreyPenalty


class L2(GreyPenalty):
    """Mean squared distance to a grey value: ``mean (x - center)^2``.

    Lucid's is ``sqrt(1e-6 + sum (x - constant)^2)``, with a constant of 0.

    Args:
        weight: factor.
        center: the grey value, in [0, 1].
    """

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).square().flatten(1).mean(1)
