"""Largest distance to a grey value."""

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.objectives.penalty import Penalty


class Linf(Penalty):
    """Largest absolute distance to a grey value: ``max |x - center|`` (``l_inf_reg`` of Xplique, around 0).

    Only the values at the maximum distance have a gradient, so that single bright and dark spots may remain.

    Args:
        weight: factor.
        center: the grey value, in [0, 1].
    """

    def __init__(self, weight: float = 1.0, center: float = 0.5) -> None:
        super().__init__(weight)
        if not 0 <= center <= 1:
            raise UsageError(f"Linf needs a center in [0, 1], got {center}")
        self.center = center

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).abs().flatten(1).amax(1)
