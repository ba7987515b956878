"""Opacity of pictures that are transparent in places."""

from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.penalty import Penalty

OPACITY, REACHED = "opacity", "objective"
"""Where the opacity of the pictures, and the objectives that they reach, are among what penalties are given."""


class Opacity(Penalty):
    """Mean opacity times the objective reached, if that is positive: what the unit does not need becomes transparent.

    For pictures that have an opacity, those of `lightning_fv.parameterizations.Alpha`. An opaque picture loses ``weight`` times
    what it has reached, so that one weight suits logits and channels, and opacity is worth something while there is nothing to
    see yet; with a fixed price pictures vanish in the first steps. Lucid multiplies the objective by one minus the mean opacity.
    The objective counts as a constant here: its own gradient stays as it is.

    Only a penalty of a visualizer, not a term of an objective, which sees pictures without their opacity.

    Args:
        weight: factor. With 2, pictures of the demo network's classes are transparent on half of their area, of `Fourier`; of
            `LaplacianPyramid` and `CPPN` on two thirds, but one in ten vanishes: 1 suits them better.
    """

    def __init__(self, weight: float = 2.0) -> None:
        super().__init__(weight)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        if OPACITY not in activations:
            raise UsageError(
                "Opacity is a penalty of pictures by lightning_fv.parameterizations.Alpha, and no part of a target"
            )
        return self.weight * activations[REACHED].detach().clamp_min(0) * self.measure(activations[OPACITY])

    def measure(self, images: Tensor) -> Tensor:
        """Of an opacity (B, 1, H, W) in [0, 1]: (B,)."""
        return images.flatten(1).mean(1)
