from collections.abc import Callable

import numpy as np
import pytest
import torch

from lightning_fv.objectives import L1, L2, Objective, Penalty, TotalVariation
from tests.helpers import noise

IMAGES = noise(4, 3, 7, 5, seed=1).sigmoid()
X = IMAGES.double().numpy()
VARIATION = np.abs(np.diff(X, axis=2)).sum((1, 2, 3)) + np.abs(np.diff(X, axis=3)).sum((1, 2, 3))

CASES: list[tuple[Penalty, np.ndarray]] = [
    (L1(), np.abs(X - 0.5).mean((1, 2, 3))),
    (L1(0.5, center=0.2), 0.5 * np.abs(X - 0.2).mean((1, 2, 3))),
    (L2(), ((X - 0.5) ** 2).mean((1, 2, 3))),
    (L2(3.0, center=0.0), 3 * (X**2).mean((1, 2, 3))),
    (TotalVariation(), VARIATION / (3 * 7 * 5)),
    (TotalVariation(0.1), 0.1 * VARIATION / (3 * 7 * 5)),
]


@pytest.mark.parametrize(("penalty", "expected"), CASES, ids=lambda x: repr(x) if isinstance(x, Objective) else "")
def test_is_its_formula(penalty: Penalty, expected: np.ndarray, device: torch.device) -> None:
    value = penalty({}, IMAGES.to(device))
    assert value.shape == (4,)
    assert value.dtype == torch.float32
    np.testing.assert_allclose(value.cpu().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(("penalty", "expected"), CASES, ids=lambda x: repr(x) if isinstance(x, Objective) else "")
def test_measure_is_unweighted(penalty: Penalty, expected: np.ndarray) -> None:
    np.testing.assert_allclose(penalty.measure(IMAGES).numpy(), expected / penalty.weight, rtol=1e-5)


@pytest.mark.parametrize("make", [L1, L2, TotalVariation])
def test_is_at_least_zero_and_zero_for_grey(make: Callable[[], Penalty], device: torch.device) -> None:
    pictures = torch.stack([torch.full((3, 7, 5), 0.5), torch.zeros(3, 7, 5), torch.ones(3, 7, 5), IMAGES[0]])
    value = make()({}, pictures.to(device)).cpu()
    assert value[0] == 0
    assert (value >= 0).all()
    assert value[3] > 0


@pytest.mark.parametrize("make", [L1, L2, TotalVariation])
def test_does_not_depend_on_batch_mates_or_on_the_number_of_pixels(make: Callable[[], Penalty]) -> None:
    together = make()({}, IMAGES)
    for row in range(4):
        torch.testing.assert_close(make()({}, IMAGES[row : row + 1])[0], together[row])
    if make is not TotalVariation:  # tiling adds an edge to its neighbours' differences
        torch.testing.assert_close(make()({}, IMAGES.repeat(1, 1, 3, 2)), together)


@pytest.mark.parametrize("make", [L1, L2, TotalVariation])
def test_gradients(make: Callable[[float], Penalty], device: torch.device) -> None:
    images = IMAGES[:2, :, :3, :4].double().to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: make(0.7)({}, x), images)


@pytest.mark.parametrize("make", [L1, L2, TotalVariation])
def test_reads_no_layer(make: Callable[[], Penalty]) -> None:
    assert make().layers == frozenset()
