import numpy as np
import pytest

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Neuron
from tests.helpers import noise

MAPS, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 3, 9, 7)
UNITS = (5, 0, 3, 3)


def test_is_one_value_of_the_map() -> None:
    for units, y, x in ((4, 3, 2), (UNITS, 4, 0)):
        expected = MAPS.numpy()[np.arange(4), units, y, x]
        np.testing.assert_array_equal(Neuron("maps", units, y, x)({"maps": MAPS}, IMAGES), expected)


@pytest.mark.parametrize(("y", "x"), [(-1, 0), (0, -1)])
def test_positions_count_from_0(y: int, x: int) -> None:
    with pytest.raises(TargetError, match=rf"start at 0, got \({y}, {x}\)"):
        Neuron("maps", 0, y, x)
