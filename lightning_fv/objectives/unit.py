"""Base class of objectives that read one layer."""

import copy
import operator
from collections.abc import Hashable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.functional import constant
from lightning_fv.objectives.base import Objective
from lightning_fv.objectives.facets import FACETS

Unit = int | Sequence[int]
"""A channel or class index for all images, or one for each image of the batch."""

PROBABILITY = "probability"
"""Takes the place of the layer name in a target's text: ``probability:pizza``."""


class UnitObjective(Objective):
    """An objective of one unit of a layer, or of the whole layer.

    Only classes that define ``kind`` themselves have a target text and are stacked as units. A subclass of one of them
    computes something else, so it is identified by its ``repr``, like any other objective.

    Args:
        layer: layer name.
        unit: index along the channel axis, or one per image; None for the whole layer.
        position: (row, column) in the layer's map, for a neuron; (token,) in its sequence.
    """

    kind: ClassVar[str]
    """The first word of the key."""
    is_class: ClassVar[bool] = False
    """Whether the unit is a class of the network."""

    def __init__(self, layer: str, unit: Unit | None, position: tuple[int, ...] | None = None) -> None:
        self.layer, self.position = layer, position
        self.unit = unit if unit is None else _checked(unit)

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.layer}:{self.unit}:{self.position}" if self._has_kind else super().key

    def text(self, categories: Sequence[str] = ()) -> str:
        if not self._has_target_text:
            return repr(self)
        if self.unit is None:
            return self._prefix
        name = None if self.class_index is None or not categories else categories[self.class_index]
        place = "" if self.position is None else "@" + ",".join(map(str, self.position))
        return f"{self._prefix}:{name or self.unit}{place}"

    @property
    def file_stem(self) -> str | None:
        if not self._has_target_text:
            return None
        unit = f"{self.unit:04d}" if isinstance(self.unit, int) else "all"
        axes = "yx" if len(self.position or ()) == 2 else "t"
        place = "".join(f"-{axis}{index}" for axis, index in zip(axes, self.position or (), strict=False))
        return f"{self._prefix}-{unit}{place}"

    @property
    def class_index(self) -> int | None:
        return self.unit if self._has_kind and self.is_class and isinstance(self.unit, int) else None

    @property
    def stack_key(self) -> Hashable:
        if not self._has_kind or self.unit is None:
            return super().stack_key
        return self.kind, self.layer, self.position

    def stacked(self, objectives: Sequence[Self]) -> Objective:
        if not self._has_kind or self.unit is None:
            return super().stacked(objectives)
        stack = copy.copy(self)
        units = [(one.unit,) if isinstance(one.unit, int) else one.unit or () for one in objectives]
        stack.unit = tuple(unit for group in units for unit in group)
        return stack

    @property
    def _prefix(self) -> str:
        return self.layer

    @property
    def _has_kind(self) -> bool:
        return "kind" in vars(type(self))

    @property
    def _has_target_text(self) -> bool:
        """Whether it can be written as a target; some layer names would be parsed as something else."""
        readable = not set("+:") & set(self.layer) and self.layer == self.layer.strip() and self.layer != PROBABILITY
        return self._has_kind and readable and not isinstance(self.unit, tuple) and not FACETS.fullmatch(self.layer)


def pick(activation: Tensor, unit: int | tuple[int, ...] | None) -> Tensor:
    """A unit's activation, in float32.

    Args:
        activation: (B, C, ...).
        unit: the index for all images, or one per image; None for all units.

    Returns:
        (B, ...), or (B, C, ...) for all units.
    """
    if unit is None:
        return activation.float()
    if isinstance(unit, int):
        return activation[:, unit].float()
    if len(unit) != len(activation):
        raise ValueError(f"{len(unit)} units for a batch of {len(activation)} pictures")
    rows, units = constant((tuple(range(len(unit))), unit), activation.device, torch.long)
    return activation[rows, units].float()


def mean_over_map(picked: Tensor) -> Tensor:
    """Each picture's mean over positions, (B,) of (B, ...)."""
    return picked if picked.ndim == 1 else picked.reshape(len(picked), -1).mean(1)


def _checked(unit: Unit) -> int | tuple[int, ...]:
    """Plain integers; negative ones are refused, since they would silently count from the end."""
    if isinstance(unit, str):
        raise TargetError(
            f"a unit is an index, not the name {unit!r}; a class by its name is a target as text, such as 'logits:{unit}', also in "
            f"'sum(logits:{unit} - 0.5*logits:1)', or give network.categories.index({unit!r})"
        )
    units = tuple(map(index_of, unit)) if isinstance(unit, Sequence) else index_of(unit)
    lowest = units if isinstance(units, int) else min(units, default=0)
    if lowest < 0:
        raise TargetError(f"unit indices start at 0, got {lowest}")
    return units


def index_of(unit: object) -> int:
    """A unit's index as a plain int.

    Raises:
        TargetError: it is no whole number.
    """
    try:
        return int(operator.index(unit))  # type: ignore[arg-type]
    except TypeError:
        raise TargetError(f"a unit is a whole number, not {unit!r}") from None
