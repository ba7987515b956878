"""Several tensors of each picture as one row of numbers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """One row per picture, (B, N), of tensors (B, ...): the numbers of the first, then of the second, and so on."""
    return torch.cat([tensor.flatten(1) for tensor in tensors], 1)


def unpack(rows: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The tensors of `pack`, as views.

    Args:
        rows: (B, N).
        shapes: of each tensor without the batch axis; N numbers together.

    Returns:
        One (B, *shape) for each shape.
    """
    parts = torch.split(rows, [math.prod(shape) for shape in shapes], 1)
    return [part.view(len(part), *shape) for part, shape in zip(parts, shapes, strict=True)]
