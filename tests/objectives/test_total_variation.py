import numpy as np
import torch

from lightning_fv.objectives import TotalVariation
from tests.helpers import noise

IMAGES = noise(4, 3, 7, 5, seed=1).sigmoid()
X = IMAGES.double().numpy()


def test_is_its_formula(device: torch.device) -> None:
    variation = np.abs(np.diff(X, axis=2)).sum((1, 2, 3)) + np.abs(np.diff(X, axis=3)).sum((1, 2, 3))
    np.testing.assert_allclose(TotalVariation()({}, IMAGES.to(device)).cpu(), variation / (3 * 7 * 5), rtol=1e-5)
    np.testing.assert_allclose(TotalVariation(0.1)({}, IMAGES.to(device)).cpu(), variation / (30 * 7 * 5), rtol=1e-5)


def test_text() -> None:
    assert [repr(TotalVariation()), repr(TotalVariation(1e-3))] == ["TotalVariation()", "TotalVariation(0.001)"]
