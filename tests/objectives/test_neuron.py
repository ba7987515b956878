import numpy as np
import pytest

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Neuron, stack_objectives
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


@pytest.mark.parametrize(
    ("side", "rows"),
    [(4, [0, 1, 2, 3]), (5, [0, 1, 3, 4]), (7, [0, 2, 4, 6]), (8, [1, 3, 5, 7]), (3, [0, 1, 1, 2]), (1, [0, 0, 0, 0])],
)
def test_a_position_of_a_reference_map_is_at_the_same_relative_place_of_others(side: int, rows: list[int]) -> None:
    """The middle of row y of 4 is at (y + 0.5) / 4 of the height: the row there, and columns alike."""
    tall, wide = noise(2, 6, side, 3), noise(2, 6, 3, side)
    for y, row in enumerate(rows):
        found = Neuron("maps", 5, y, 1, of=(4, 3))({"maps": tall}, IMAGES[:2])
        np.testing.assert_array_equal(found, tall[:, 5, row, 1])
        found = Neuron("maps", 5, 1, y, of=(3, 4))({"maps": wide}, IMAGES[:2])
        np.testing.assert_array_equal(found, wide[:, 5, 1, row])


@pytest.mark.parametrize(("y", "x"), [(4, 0), (0, 3)])
def test_a_position_outside_its_reference_map_is_refused(y: int, x: int) -> None:
    with pytest.raises(TargetError, match=rf"\({y}, {x}\) is not on a map of 4 rows and 3 columns"):
        Neuron("maps", 0, y, x, of=(4, 3))


def test_the_reference_map_is_part_of_its_identity() -> None:
    relative, absolute = Neuron("maps", 4, 1, 2, of=(4, 4)), Neuron("maps", 4, 1, 2)
    assert repr(relative) == "Neuron('maps', 4, 1, 2, of=(4, 4))"
    assert eval(repr(relative)) == relative
    assert Neuron("maps", 4, 1, 2, of=[4, 4]) == relative  # type: ignore[arg-type] # as YAML has it
    assert relative != absolute
    assert not relative.same_as(absolute)
    assert relative.text() == "maps:4@1,2"
    assert absolute.text() == repr(absolute)  # as a target it would be read as the other


def test_only_neurons_of_one_place_are_read_together() -> None:
    same = [Neuron("maps", unit, 1, 2, of=(4, 4)) for unit in (4, 0, 4)]
    others = [Neuron("maps", 4, 1, 2), Neuron("maps", 4, 1, 2, of=(4, 5)), Neuron("maps", 4, 1, 1, of=(4, 4))]
    groups = stack_objectives([same[0], *others, *same[1:]])
    assert [rows for rows, _ in groups] == [[0, 4, 5], [1], [2], [3]]
    assert groups[0][1] == Neuron("maps", (4, 0, 4), 1, 2, of=(4, 4))
