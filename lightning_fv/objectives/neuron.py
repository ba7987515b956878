"""A neuron: one position of a channel's map."""

from collections.abc import Hashable

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations
from lightning_fv.objectives.unit import Unit, UnitObjective, pick


class Neuron(UnitObjective):
    """Activation at one position of a channel's map.

    A layer's map is larger where the picture is: after it has grown, or in the window of transforms that pad it. With ``of``
    the neuron stays at the same relative place: of a map of H rows, row floor((y + 0.5) * H / of[0]) is read, and columns
    alike, so the same one where the map has the size ``of``. Targets given as text, such as ``layer4:12@1,2``, have
    the map at the network's training size. Without ``of``, row y and column x of any map are read.

    The place is relative to all that the network sees: where a transform pads, positions at the border move outwards by the
    width of the padding, and those in the middle stay.

    Args:
        layer: layer name; its output is (B, C, H, W).
        unit: channel index, or one per image.
        y, x: row and column, counted from 0 at the top left.
        of: (height, width) of the map that ``y`` and ``x`` refer to; None: of whatever map there is.

    Raises:
        TargetError: a row or column is negative, or not on a map of the size ``of``.
    """

    kind = "neuron"

    def __init__(self, layer: str, unit: Unit, y: int, x: int, of: tuple[int, int] | None = None) -> None:
        if min(y, x) < 0:
            raise TargetError(f"a neuron's row and column start at 0, got ({y}, {x})")
        if of is not None and not (y < of[0] and x < of[1]):
            raise TargetError(f"a neuron's position ({y}, {x}) is not on a map of {of[0]} rows and {of[1]} columns")
        super().__init__(layer, unit, (y, x))
        self.y, self.x = y, x
        self.of = None if of is None else (of[0], of[1])

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        maps = pick(activations[self.layer], self.unit)
        y, x = self.y, self.x
        if self.of is not None:
            # In whole numbers: floats would round some middles of a row down to the row before.
            y = (2 * y + 1) * maps.shape[1] // (2 * self.of[0])
            x = (2 * x + 1) * maps.shape[2] // (2 * self.of[1])
        return maps[:, y, x]

    @property
    def stack_key(self) -> Hashable:
        return super().stack_key, self.of

    @property
    def _has_target_text(self) -> bool:
        return super()._has_target_text and self.of is not None  # as a target, its position would be read as relative
