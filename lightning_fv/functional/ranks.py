"""Rank correlation."""

import torch
from torch import Tensor


def midranks(values: Tensor) -> Tensor:
    """Rank of each value in its row, 1 for the lowest; equal values share the mean of their ranks.

    Args:
        values: (..., N).

    Returns:
        (..., N) in [1, N], float32 or float64 as the values; NaN throughout a row with a NaN.
    """
    values = values if values.dtype == torch.float64 else values.float()
    values = values.contiguous()
    ordered = values.sort(-1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    ranks = ((below + up_to + 1) / 2).to(values.dtype)
    return ranks.masked_fill(values.isnan().any(-1, keepdim=True), float("nan"))


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation of each row of one matrix with each row of another.

    Args:
        one: (..., A, N).
        other: (..., B, N).

    Returns:
        (..., A, B) in [-1, 1]; NaN for a row whose values are all equal or that has a NaN.
    """
    first, second = (_standardized(midranks(rows)) for rows in (one, other))
    return (first @ second.transpose(-1, -2)).clamp(-1, 1)


def _standardized(ranks: Tensor) -> Tensor:
    # The mean of 1 ... N, whatever the ties: exact, so that equal values are exactly at 0 and have no correlation.
    centred = ranks - (ranks.shape[-1] + 1) / 2
    length: Tensor = centred.norm(dim=-1, keepdim=True)
    return centred / length
