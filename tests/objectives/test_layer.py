import numpy as np

from lightning_fv.objectives import Layer
from tests.helpers import noise

MAPS, VECTORS, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 6, seed=2), noise(4, 3, 9, 7)


def test_is_the_mean_square() -> None:
    seen = {"maps": MAPS, "vectors": VECTORS}
    np.testing.assert_allclose(Layer("maps")(seen, IMAGES), (MAPS.numpy() ** 2).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(Layer("vectors")(seen, IMAGES), (VECTORS.numpy() ** 2).mean(1), rtol=1e-5)
