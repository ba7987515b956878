import numpy as np
import pytest

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Channel
from tests.helpers import noise

MAPS, VECTORS, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 6, seed=2), noise(4, 3, 9, 7)
UNITS = (5, 0, 3, 3)


def test_is_the_mean_over_the_map() -> None:
    seen, rows = {"maps": MAPS, "vectors": VECTORS}, np.arange(4)
    for units in (4, UNITS, list(UNITS)):
        expected = MAPS.numpy()[rows, units].mean((1, 2))
        np.testing.assert_allclose(Channel("maps", units)(seen, IMAGES), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(Channel("vectors", units)(seen, IMAGES), VECTORS.numpy()[rows, units])


def test_a_class_is_refused() -> None:
    with pytest.raises(TargetError, match=r"^Channel\('logits', 3\) is the logit of a class; write Logit\(3\)$"):
        Channel("logits", 3)
