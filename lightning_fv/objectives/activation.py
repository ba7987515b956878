"""Objectives that read one layer: neuron, channel, layer, logit, probability."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import LOGITS, Activations, Objective

Unit = int | Sequence[int]
"""A channel index for all pictures, or one for each picture of the batch."""


class Channel(Objective):
    """Mean activation of a channel over its map (Olah et al. 2017, Figure "Different optimization objectives").

    Args:
        layer: layer name; its output is (B, C) or (B, C, H, W).
        unit: channel index, or one per picture.
    """

    def __init__(self, layer: str, unit: Unit) -> None:
        self.layer, self.unit = layer, _checked(unit)

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        picked = _pick(activations[self.layer], self.unit)
        return picked.reshape(len(picked), -1).mean(1)  # of a (B, C) output, each unit is its own mean

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layer!r}, {self.unit!r})"


class Neuron(Objective):
    """Activation of one place in a channel's map.

    Args:
        layer: layer name; its output is (B, C, H, W).
        unit: channel index, or one per picture.
        y, x: row and column in the layer's map, counted from the top left.
    """

    def __init__(self, layer: str, unit: Unit, y: int, x: int) -> None:
        self.layer, self.unit, self.y, self.x = layer, _checked(unit), y, x

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return _pick(activations[self.layer], self.unit)[:, self.y, self.x].float()

    def __repr__(self) -> str:
        return f"Neuron({self.layer!r}, {self.unit!r}, {self.y}, {self.x})"


class Layer(Objective):
    """Mean square of everything a layer gives (DeepDream, Mordvintsev et al. 2015).

    Args:
        layer: layer name.
    """

    def __init__(self, layer: str) -> None:
        self.layer = layer

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return activations[self.layer].flatten(1).float().square().mean(1)

    def __repr__(self) -> str:
        return f"Layer({self.layer!r})"


class Logit(Channel):
    """A class's logit: the network's output before the softmax.

    Args:
        unit: class index, or one per picture.
    """

    def __init__(self, unit: Unit) -> None:
        super().__init__(LOGITS, unit)

    def __repr__(self) -> str:
        return f"Logit({self.unit!r})"


class Probability(Channel):
    """A class's probability: softmax over the logits, in [0, 1].

    It can also be raised by pushing other classes down, and its gradient fades near 1 (Olah et al. 2017 prefer logits).

    Args:
        unit: class index, or one per picture.
    """

    def __init__(self, unit: Unit) -> None:
        super().__init__(LOGITS, unit)

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return _pick(activations[LOGITS].float().softmax(1), self.unit)

    def __repr__(self) -> str:
        return f"Probability({self.unit!r})"


def _checked(unit: Unit) -> int | tuple[int, ...]:
    """Units without negative ones, which would silently count from the end."""
    units = unit if isinstance(unit, int) else tuple(unit)
    lowest = units if isinstance(units, int) else min(units, default=0)
    if lowest < 0:
        raise TargetError(f"a unit is a number from 0, not {lowest}")
    return units


def _pick(activation: Tensor, unit: int | tuple[int, ...]) -> Tensor:
    if isinstance(unit, int):
        return activation[:, unit].float()
    if len(unit) != len(activation):
        raise ValueError(f"{len(unit)} units for a batch of {len(activation)} pictures")
    rows, units = _index(unit, activation.device)
    return activation[rows, units].float()


@functools.lru_cache(maxsize=64)
def _index(unit: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and units as tensors; made once, since a step asks for the same again and again."""
    with torch.inference_mode(False):  # made in inference mode they could not serve a backward pass later
        return torch.arange(len(unit), device=device), torch.tensor(unit, device=device)
