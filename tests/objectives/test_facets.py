"""Several pictures of one objective: what stands for them among the targets."""

import re
from typing import Any

import pytest

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Channel, Facets, Logit
from lightning_fv.runs.init_args import init_args
from tests.helpers import noise


def test_it_is_the_objective_with_a_number() -> None:
    several = Facets(Channel("a", 1) - 0.5 * Channel("b", 2), 3)
    assert repr(several) == "Facets(Channel('a', 1) - 0.5 * Channel('b', 2), 3)"
    assert several.layers == {"a", "b"}
    activations = {"a": noise(2, 4, 3, 3), "b": noise(2, 4, 3, 3, seed=1)}
    images = noise(2, 3, 6, 6)
    assert several(activations, images).tolist() == several.objective(activations, images).tolist()


def test_a_configuration_file_can_name_it() -> None:
    args = init_args(Facets(Logit(11), 4))
    assert args["class_path"] == "lightning_fv.objectives.facets.Facets"
    assert args["init_args"] == {"objective": init_args(Logit(11)), "count": 4}


@pytest.mark.parametrize("count", [0, -1, 65, 2.0, "4", None])
def test_numbers_of_pictures_that_are_none(count: Any) -> None:
    with pytest.raises(TargetError, match=rf"^Logit\(1\): a target has 1 to 64 pictures, not {count}$"):
        Facets(Logit(1), count)


@pytest.mark.parametrize("objective", ["logits:1", None, Facets(Logit(1), 2)], ids=str)
def test_only_an_objective_has_several_pictures(objective: Any) -> None:
    with pytest.raises(TargetError, match=rf"not {re.escape(repr(objective))}"):
        Facets(objective, 2)


def test_several_pictures_are_no_term_of_a_sum() -> None:
    for wrong in (
        lambda: Facets(Logit(1), 2) - Logit(2),
        lambda: Logit(2) * Facets(Logit(1), 2),
        lambda: -Facets(Logit(1), 2),
    ):
        with pytest.raises(
            TargetError, match=r"Facets\(Logit\(1\), 2\) is 2 pictures, not a number; write Facets\(a - b, 2\)"
        ):
            wrong()
