"""Distance of two sets of features."""

import torch
from torch import Tensor

BLOCK = 1024
"""Rows at a time of a kernel matrix: 400 MB against 50,000 photos."""


def polynomial_mmd(one: Tensor, other: Tensor, degree: int = 3) -> Tensor:
    """Squared maximum mean discrepancy with the kernel (x . y / D + 1)^degree, unbiased (Binkowski et al. 2018, eq. 4).

    Args:
        one: (M, D) features.
        other: (N, D).

    Returns:
        A float64 scalar; its mean is 0 for sets of the same distribution, so that it may be negative. NaN for a NaN feature.

    Raises:
        ValueError: fewer than two of either.
    """
    m, n = len(one), len(other)
    if min(m, n) < 2:
        raise ValueError(f"the unbiased distance takes at least two of each set, not {m} and {n}")
    within = [(_sum(x, x, degree) - _diagonal(x, degree)) / (len(x) * (len(x) - 1)) for x in (one, other)]
    return within[0] + within[1] - 2 * _sum(one, other, degree) / (m * n)


def _sum(one: Tensor, other: Tensor, degree: int) -> Tensor:
    other = other.double()
    total = torch.zeros((), dtype=torch.float64, device=one.device)
    for rows in torch.split(one, BLOCK):
        total += (rows.double() @ other.T / one.shape[1] + 1).pow(degree).sum()
    return total


def _diagonal(features: Tensor, degree: int) -> Tensor:
    return (features.double().square().sum(1) / features.shape[1] + 1).pow(degree).sum()
