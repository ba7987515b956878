"""The cosine between Gram matrices."""

import numpy as np
import pytest
import torch

from lightning_fv.functional import gram_cosine
from tests.helpers import noise

SHAPES = [(6, 3), (3, 6), (5, 5), (4, 1), (1, 7)]


@pytest.mark.parametrize(("channels", "positions"), SHAPES)
def test_it_is_the_cosine_of_the_matrices(channels: int, positions: int) -> None:
    one, other = noise(2, channels, positions), noise(3, channels, positions, seed=1)
    found = gram_cosine(one, other)
    for i, j in np.ndindex(2, 3):
        first, second = (features.double().numpy() @ features.double().numpy().T for features in (one[i], other[j]))
        expected = (first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second))
        assert float(found[i, j]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("channels", "positions"), SHAPES)
def test_neither_scale_nor_place_matters(channels: int, positions: int) -> None:
    one = noise(2, channels, positions)
    moved = 3e9 * one[:, :, torch.randperm(positions, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(gram_cosine(one, 1e-12 * moved).diagonal(), torch.ones(2))
    torch.testing.assert_close(gram_cosine(1e18 * one, moved).diagonal(), torch.ones(2))


def test_channels_that_are_never_active_together_are_not_alike() -> None:
    for positions in (1, 9):
        one, other = torch.zeros(1, 4, positions), torch.zeros(1, 4, positions)
        one[:, :2], other[:, 2:] = 1, 1
        assert gram_cosine(one, other).tolist() == [[0.0]]


@pytest.mark.parametrize(("channels", "positions"), [(6, 3), (3, 6)])
def test_the_gradient(channels: int, positions: int) -> None:
    one, other = (noise(2, channels, positions, seed=seed, dtype=torch.double).requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(gram_cosine, (one, other))


@pytest.mark.parametrize(("channels", "positions"), [(6, 3), (3, 6)])
def test_features_of_zero_have_a_gradient_of_zero(channels: int, positions: int) -> None:
    one = noise(2, channels, positions)
    one[0] = 0
    one.requires_grad_()
    cosines = gram_cosine(one, noise(2, channels, positions, seed=1))
    cosines.sum().backward()
    assert cosines[0].tolist() == [0.0, 0.0]
    assert one.grad is not None
    assert bool((one.grad[0] == 0).all())
    assert bool((one.grad[1] != 0).any())
