"""L1 distance to a grey value."""

from torch import Tensor

from lightning_fv.objectives.penalty import GreyPenalty


class L1(GreyPenalty):
    """Mean absolute distance to a grey value: ``mean |x - center|``.

    The study adds it inside an argmax, which would reward distance from grey; it is subtracted here.

    Lucid's is ``sum |x - constant|`` over all values, with a constant of 0.

    Args:
        weight: factor (0.5 in the study).
        center: the grey value, in [0, 1].
    """

    def measure(self, images: Tensor) -> Tensor:
        return (images - self.center).abs().flatten(1).mean(1)
