import numpy as np

from lightning_fv.objectives import LOGITS, Logit
from tests.helpers import noise

SCORES, IMAGES = noise(4, 7, seed=3), noise(4, 3, 9, 7)
UNITS = (5, 0, 3, 3)


def test_is_the_output_for_the_class() -> None:
    seen = {LOGITS: SCORES}
    np.testing.assert_array_equal(Logit(6)(seen, IMAGES), SCORES.numpy()[:, 6])
    np.testing.assert_array_equal(Logit(UNITS)(seen, IMAGES), SCORES.numpy()[np.arange(4), UNITS])


def test_of_an_output_with_a_map_is_the_mean_over_it() -> None:
    maps = noise(4, 7, 5, 3, seed=4)
    np.testing.assert_allclose(Logit(6)({LOGITS: maps}, IMAGES), maps.numpy()[:, 6].mean((1, 2)), rtol=1e-5, atol=1e-6)
