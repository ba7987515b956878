import numpy as np
import torch

from lightning_fv.objectives import L2
from tests.helpers import noise

IMAGES = noise(4, 3, 7, 5, seed=1).sigmoid()
X = IMAGES.double().numpy()


def test_is_its_formula(device: torch.device) -> None:
    images = IMAGES.to(device)
    np.testing.assert_allclose(L2()({}, images).cpu(), ((X - 0.5) ** 2).mean((1, 2, 3)), rtol=1e-5)
    expected = 0.25 * ((X - 0.2) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(L2(0.25, center=0.2)({}, images).cpu(), expected, rtol=1e-5)


def test_text() -> None:
    texts = [repr(one) for one in (L2(), L2(0.5), L2(center=0.1), L2(0.25, 0.3))]
    assert texts == ["L2()", "L2(0.5)", "L2(1.0, center=0.1)", "L2(0.25, center=0.3)"]
