"""A direction in a layer's activations."""

import copy
import hashlib
import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.functional import on_device
from lightning_fv.objectives.base import Activations, Objective

LEAST_COSINE = 0.1
"""Cosines below are taken for it, so that a picture that starts at a right angle to the direction has a gradient (Lucid)."""


class Direction(Objective):
    """Activation along a direction, such as a concept's vector or a weight of a later layer.

    With the activation a of C channels at a place and the vector v, the mean over places of ``a·v / |v| * max(cos(a, v), 0.1)^p``.
    A power p above 0 asks for activations that point along v, not only far that way (Carter et al. 2019, "Activation Atlas").

    Args:
        layer: layer name; its output is (B, C), (B, C, T) or (B, C, H, W).
        vector: C numbers: a file, ``.npy`` or ``.safetensors``, or a sequence, array or tensor. A file with several vectors as rows
            (N, C) needs ``row``.
        row: the row of a file of several vectors, from 0.
        cosine_power: p, at least 0.
        position: (row, column) of a map, or (token,); None for the mean over all.
        digest: of the vector, as ``digest`` gives it: another vector in the file is refused.

    Raises:
        TargetError: the file cannot be read, or the numbers are no such vector, or not those of the digest.
    """

    def __init__(
        self,
        layer: str,
        vector: str | Path | Tensor | np.ndarray | Sequence[float],
        row: int | None = None,
        cosine_power: float = 0.0,
        position: Sequence[int] | None = None,
        digest: str | None = None,
    ) -> None:
        if not 0 <= cosine_power < math.inf:
            raise TargetError(f"Direction needs a finite cosine_power of at least 0, got {cosine_power}")
        self.layer, self.row, self.cosine_power = layer, row, float(cosine_power)
        self.position = checked_position(position, "Direction")
        is_file = isinstance(vector, str | Path)
        self.vector: str | None = str(vector) if is_file else None
        name = f"the vector {vector}" if is_file else "the vector"
        values = read_vectors(Path(str(vector))) if is_file else torch.as_tensor(np.asarray(vector, dtype=np.float32))
        self._direction = _unit(_row(values, row, name), name)
        self.digest = hashlib.blake2b(self._direction.numpy().tobytes(), digest_size=8).hexdigest()
        if digest is not None and digest != self.digest:
            raise TargetError(f"{name} has changed: its digest is {self.digest}, not {digest}")

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found = activations[self.layer].float()
        direction = on_device(self._direction, found.device)
        if found.shape[1] != direction.shape[-1]:
            raise TargetError(
                f"layer {self.layer} has {found.shape[1]} channels, and the vector {direction.shape[-1]} numbers"
            )
        found = at_places(found, self.layer, self.position)
        along = torch.einsum("bcp,bc->bp", found, direction.expand(len(found), -1))
        if self.cosine_power:
            cosine = along / found.norm(dim=1).clamp(min=1e-6)
            along = along * cosine.clamp(min=LEAST_COSINE) ** self.cosine_power
        return along.mean(1)

    def text(self, categories: Sequence[str] = ()) -> str:
        if self.vector is None or self.cosine_power or self.position is not None:
            return repr(self)
        return f"vector:{self.vector}{'' if self.row is None else f':{self.row}'}@{self.layer}"

    @property
    def stack_key(self) -> Hashable:
        if type(self) is not Direction:  # it may compute something else
            return super().stack_key
        return Direction, self.layer, self.cosine_power, self.position

    def stacked(self, objectives: Sequence[Self]) -> Objective:
        stack = copy.copy(self)
        stack._direction = torch.stack([objective._direction for objective in objectives])
        return stack


def checked_position(position: Sequence[int] | None, owner: str) -> tuple[int, ...] | None:
    """A position as a tuple of one or two numbers from 0, or None for all of them.

    Raises:
        TargetError: it is something else; ``owner`` names in the message whose it is.
    """
    checked = None if position is None else tuple(map(int, position))
    if checked is not None and (len(checked) not in (1, 2) or min(checked) < 0):
        raise TargetError(f"{owner} needs a position (row, column) or (token,), counted from 0, got {position}")
    return checked


def at_places(found: Tensor, layer: str, position: tuple[int, ...] | None) -> Tensor:
    """A layer's output, (B, C), (B, C, T) or (B, C, H, W), as (B, C, P): of all P places, or of the one at ``position``.

    Raises:
        TargetError: the output has no such axes.
    """
    if position is not None:
        if found.ndim != 2 + len(position):
            raise TargetError(f"layer {layer} outputs {tuple(found.shape)}, without the position {position}")
        for place in position:
            found = found[:, :, place]
    return found.reshape(*found.shape[:2], -1)


def read_vectors(file: Path) -> Tensor:
    """The numbers of a ``.npy`` or ``.safetensors`` file with a single array, float32 (C,) or (N, C).

    Raises:
        TargetError: it cannot be read, or holds something else.
    """
    try:
        if file.suffix == ".npy":
            values = torch.from_numpy(np.load(file, allow_pickle=False).astype(np.float32))
        elif file.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors = load_file(file)
            if len(tensors) != 1:
                raise ValueError(f"it holds {len(tensors)} tensors: {', '.join(sorted(tensors)[:5])}")
            (values,) = (tensor.float() for tensor in tensors.values())
        else:
            raise ValueError("its name ends neither in .npy nor in .safetensors")
    except Exception as error:  # of the file system, of numpy, of safetensors
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        raise TargetError(f"cannot read vectors from {file}: {reason}") from None
    if values.ndim not in (1, 2) or not values.numel():
        raise TargetError(f"{file} holds an array {tuple(values.shape)}; vectors are (C,) or one per row (N, C)")
    return values


def _row(values: Tensor, row: int | None, name: str) -> Tensor:
    if values.ndim == 1 and row is None:
        return values
    if values.ndim != 2:
        raise TargetError(f"{name} has the shape {tuple(values.shape)}; give one vector, without a row")
    if row is None:
        raise TargetError(f"{name} is {len(values)} vectors; choose one by its row, 0 to {len(values) - 1}")
    if not 0 <= row < len(values):
        raise TargetError(f"{name} has no row {row}; there are 0 to {len(values) - 1}")
    return values[row]


def _unit(vector: Tensor, name: str) -> Tensor:
    length = float(vector.norm())
    if not math.isfinite(length) or length == 0:
        raise TargetError(f"{name} needs finite numbers, not all of them 0")
    return (vector / length).contiguous()
