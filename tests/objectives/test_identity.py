"""An objective is identified by text that is the same in every process, or not at all."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_fv.errors import TargetError
from lightning_fv.functional.code import code_digest
from lightning_fv.objectives import L1, Channel, Function, Logit, Objective
from lightning_fv.objectives.base import Activations
from tests.processes import run_python


class Own(Objective):
    """Of any arguments; its value does not matter here."""

    layers = frozenset(("conv",))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return activations["conv"].flatten(1)[:, 0]


class Plain(Own):
    def __init__(self, how: object, power: object = 2, *, scale: object = None) -> None:
        self.how, self.power, self.scale = how, power, scale


@dataclass
class Data(Own):
    how: object
    power: object = 2


@dataclass(slots=True)
class Slots(Own):
    how: object

    def __repr__(self) -> str:
        return "Slots()"


class Hidden(Own):
    """Its repr does not show its state."""

    def __init__(self, state: object) -> None:
        self.state_ = state

    def __repr__(self) -> str:
        return "Hidden()"


class Kept(Own):
    def __init__(self, how: object) -> None:
        self._how = how


class Star(Own):
    def __init__(self, *how: object) -> None:
        self.how = how


class Written(Own):
    def __init__(self, how: object) -> None:
        self.how = how

    def __repr__(self) -> str:
        return f"Written({self.how!r})"


class Colour(Enum):
    RED = 1


def test_is_written_from_the_arguments() -> None:
    assert repr(Own()) == "Own()"
    assert repr(Plain("a")) == Plain("a").key == "Plain('a')"
    assert repr(Plain(1.5, power=None, scale=(3,))) == "Plain(1.5, power=None, scale=(3,))"
    assert repr(Plain(how=[True, {"b": (1, 2)}])) == "Plain([True, {'b': (1, 2)}])"
    assert repr(Plain(np.float32(0.5), Colour.RED)) == "Plain(0.5, power=Colour.RED)"
    assert repr(Plain(Logit(1) - L1())) == "Plain(Logit(1) - L1())"
    assert repr(Data("a")) == "Data('a')"
    assert repr(Data("a", 3)) == "Data('a', power=3)"


def test_is_the_same_in_every_process() -> None:
    """Sets of text are in another order in each process, also those in bytecode."""
    code = (
        "from tests.objectives.test_identity import Plain, code_digest, named\n"
        "print(Plain(frozenset('abcdefgh'), {'x', 'y', 'z'}).key, code_digest(named), code_digest(Plain))"
    )
    told = {run_python("-c", code, PYTHONHASHSEED=seed).output for seed in ("1", "2")}
    letters = ", ".join(repr(letter) for letter in "abcdefgh")
    key = f"Plain(frozenset([{letters}]), power=set(['x', 'y', 'z']))"
    assert told == {f"{key} {code_digest(named)} {code_digest(Plain)}\n"}


def named(x: str, among: object = frozenset("abcdefgh")) -> bool:
    return x in {"one", "two", "three"} or x == among


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (Plain(torch.ones(3)), "its argument 'how' is of type Tensor, not a plain value"),
        (Plain([object()]), "its argument 'how' is of type list, not a plain value"),
        (Plain("a", nn.Linear(2, 2)), "its argument 'power' is of type Linear, not a plain value"),
        (Plain("a", scale=lambda x: x), "its argument 'scale' is of type function, not a plain value"),
        (Plain(Plain(torch.ones(3))), "its argument 'how' is of type Plain, not a plain value"),
        (Data(torch.ones(3)), "its argument 'how' is of type Tensor, not a plain value"),
        (Data(nn.Linear(2, 2)), "its argument 'how' is of type Linear, not a plain value"),
        (Kept("a"), "it has no attribute 'how' that stores the argument"),
        (Star("a"), r"its constructor takes \*how"),
        (Written(object()), "its repr contains 'at 0x[0-9a-f]+'"),
        (Written(torch.ones(3)), r"its repr contains 'tensor\('"),
        (Written(np.ones(3)), r"its repr contains 'array\('"),
        (Logit(1) + Plain(torch.ones(3)), "Sum cannot be told from another Sum: its repr contains 'at 0x[0-9a-f]+'"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_cannot_identify_it_is_refused_in_one_line(objective: Objective, told: str) -> None:
    with pytest.raises(TargetError, match=told) as caught:
        _ = objective.key
    (line,) = str(caught.value).splitlines()
    assert line.endswith(
        'write a __repr__ that shows everything its value depends on, or name it: Function(objective, name="...")'
    )
    assert repr(objective)  # still something to read in a debugger
    assert Function(objective, name="mine").key == f"Function(name='mine', layers={tuple(sorted(objective.layers))})"


def test_same_text_and_other_state_is_not_the_same() -> None:
    assert Hidden(1).key == Hidden(2).key
    assert Hidden(1).same_as(Hidden(1))
    assert not Hidden(1).same_as(Hidden(2))
    assert Hidden(torch.ones(3)).same_as(Hidden(torch.ones(3)))
    assert not Hidden(torch.ones(3)).same_as(Hidden(torch.zeros(3)))
    assert Slots(1).same_as(Slots(1))
    assert not Slots(1).same_as(Slots(2))
    assert not Hidden(np.ones(3)).same_as(Hidden(np.zeros(3)))
    assert Hidden({"a": [1, Plain(2)]}).same_as(Hidden({"a": [1, Plain(2)]}))
    assert not Hidden({"a": [1, Plain(2)]}).same_as(Hidden({"a": [1, Plain(3)]}))
    assert not (Logit(1) + Hidden(1)).same_as(Logit(1) + Hidden(2))
    assert (Logit(1) + Hidden(1)).same_as(Logit(1) + Hidden(1))
    assert not Hidden(1).same_as(type("Hidden", (Own,), {"__repr__": lambda self: "Hidden()"})())


def test_equal_means_written_alike() -> None:
    assert Plain("a") == Plain("a") != Plain("b")
    assert len({Data("a"), Data("a"), Data("b")}) == 2
    assert Channel("conv", 1) != "Channel('conv', 1)"
