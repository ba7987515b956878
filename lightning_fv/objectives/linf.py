"""Largest distance to a grey value."""

from torch import Tensor

from lightning_fv.objectives.penalty import GreyPenalty


class Linf(GreyPenalty):
    """Largest absolute distance to a grey value: ``max |x - center|`` (``l_inf_reg`` of Xplique, around 0).

    Only the values at the maximum distance have a gradient, so that single bright and dark spots may remain.

    Args:
        weight: factor.
        center: the grey value, in [0, 1].
    """

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).abs().flatten(1).amax(1)
