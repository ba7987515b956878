import numpy as np
import pytest
import torch

from lightning_fv.errors import UsageError
from lightning_fv.objectives import Linf
from tests.helpers import noise

IMAGES = noise(4, 3, 7, 5, seed=1).sigmoid()
X = IMAGES.double().numpy()


def test_is_its_formula(device: torch.device) -> None:
    images = IMAGES.to(device)
    np.testing.assert_allclose(Linf()({}, images).cpu(), np.abs(X - 0.5).max((1, 2, 3)), rtol=1e-5)
    expected = 0.25 * np.abs(X - 0.2).max((1, 2, 3))
    np.testing.assert_allclose(Linf(0.25, center=0.2)({}, images).cpu(), expected, rtol=1e-5)


def test_only_the_farthest_value_has_a_gradient() -> None:
    images = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Linf()({}, images).sum(), images)
    assert gradient.flatten(1).count_nonzero(1).tolist() == [1] * 4
    assert gradient.abs().flatten(1).argmax(1).equal((IMAGES - 0.5).abs().flatten(1).argmax(1))


def test_text() -> None:
    assert [repr(Linf()), repr(Linf(0.5, 0.25))] == ["Linf()", "Linf(0.5, center=0.25)"]
    with pytest.raises(UsageError, match=r"center in \[0, 1\]"):
        Linf(center=2)
