import pickle
from functools import partial

import pytest
import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives import L1, Channel, Function, Logit
from lightning_fv.objectives.base import Activations
from tests.helpers import noise

SEEN = {"conv": noise(4, 6, 5, 3, seed=1)}
IMAGES = noise(4, 3, 7, 5, seed=2)


def brightest(activations: Activations, images: Tensor) -> Tensor:
    return activations["conv"].flatten(1).amax(1)


def captures(power: float) -> "object":
    def score(activations: Activations, images: Tensor) -> Tensor:
        return activations["conv"].flatten(1).mean(1) * power

    return score


def test_is_the_function() -> None:
    objective = Function(brightest, layers=["conv"])
    assert torch.equal(objective(SEEN, IMAGES), SEEN["conv"].flatten(1).amax(1))
    assert objective.layers == {"conv"}
    assert torch.equal((objective - 2 * L1())(SEEN, IMAGES), objective(SEEN, IMAGES) - 2 * L1()(SEEN, IMAGES))


def test_is_identified_by_its_name() -> None:
    assert Function(brightest, ["conv"]).key == "Function(name='brightest', layers=('conv',))"
    assert Function(lambda a, i: a["conv"].mean((1, 2, 3)), ["b", "a"], name="mean").key == (
        "Function(name='mean', layers=('a', 'b'))"
    )
    assert "mean" in (Function(lambda a, i: i, [], name="mean") + Channel("conv", 1)).key
    assert pickle.loads(pickle.dumps(Function(brightest, ["conv"]))).key == Function(brightest, ["conv"]).key


def test_two_functions_of_one_name_are_not_the_same() -> None:
    one, other = (Function(captures(power), ["conv"], name="score") for power in (1.0, 2.0))
    assert one.key == other.key
    assert one.same_as(one)
    assert not one.same_as(other)
    assert Function(brightest, ["conv"]).same_as(Function(brightest, ["conv"]))


@pytest.mark.parametrize(
    ("fn", "told"),
    [
        (lambda a, i: i, "a lambda has no name"),
        (captures(2.0), "a function that captures variables has no name"),
        (partial(brightest), "a partial has no name"),
        (Channel("conv", 1), "a Channel has no name"),
    ],
    ids=["lambda", "closure", "partial", "objective"],
)
def test_without_a_name_is_refused(fn: object, told: str) -> None:
    with pytest.raises(TargetError, match=told + r' that identifies it; give it one: Function\(..., name="..."\)$'):
        Function(fn, ["conv"])  # type: ignore[arg-type]
    assert Function(fn, ["conv"], name="mine").name == "mine"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((3, ["conv"], "x"), "something to call"),
        ((Channel, ["conv"], "x"), "something to call"),
        ((brightest,), r"layers=\['layer4'\]"),
        ((brightest, "conv"), r"layers=\['conv'\]"),
        ((brightest, ["conv"], " "), "is empty"),
    ],
)
def test_wrong_arguments(arguments: tuple[object, ...], told: str) -> None:
    with pytest.raises(TargetError, match=told):
        Function(*arguments)  # type: ignore[arg-type]


def test_an_objective_brings_its_layers() -> None:
    assert Function(Logit(1) + Channel("conv", 2), name="both").layers == {"logits", "conv"}
