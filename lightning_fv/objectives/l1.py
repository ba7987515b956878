"""L1 distance to a grey value."""

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.objectives.penalty import Penalty


class L1(Penalty):
    """Mean absolute distance to a grey value: ``mean |x - center|``.

    The study adds it inside an argmax, which would reward distance from grey; it is subtracted here.

    Lucid's is ``sum |x - constant|`` over all values, with a constant of 0.

    Args:
        weight: factor (0.5 in the study).
        center: the grey value, in [0, 1].
    """

    def __init__(self, weight: float = 1.0, center: float = 0.5) -> None:
        super().__init__(weight)
        if not 0 <= center <= 1:
            raise UsageError(f"L1 needs a center in [0, 1], got {center}")
        self.center = center

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).abs().flatten(1).mean(1)
