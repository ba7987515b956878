"""L2 distance to a grey value."""

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.objectives.penalty import Penalty


class L2(Penalty):
    """Mean squared distance to a grey value: ``mean (x - center)^2``.

    Lucid's is ``sqrt(1e-6 + sum (x - constant)^2)``, with a constant of 0.

    Args:
        weight: factor.
        center: the grey value, in [0, 1].
    """

    def __init__(self, weight: float = 1.0, center: float = 0.5) -> None:
        super().__init__(weight)
        if not 0 <= center <= 1:
            raise UsageError(f"L2 needs a center in [0, 1], got {center}")
        self.center = center

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).square().flatten(1).mean(1)
