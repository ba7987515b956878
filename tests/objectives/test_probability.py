import numpy as np
from scipy.special import softmax

from lightning_fv.objectives import LOGITS, Probability
from tests.helpers import noise

SCORES, IMAGES = noise(4, 7, seed=3), noise(4, 3, 9, 7)
UNITS = (5, 0, 3, 3)


def test_is_the_softmax_of_the_logits() -> None:
    seen, expected = {LOGITS: SCORES}, softmax(SCORES.numpy(), 1)
    np.testing.assert_allclose(Probability(6)(seen, IMAGES), expected[:, 6], rtol=1e-5)
    np.testing.assert_allclose(Probability(UNITS)(seen, IMAGES), expected[np.arange(4), UNITS], rtol=1e-5)
