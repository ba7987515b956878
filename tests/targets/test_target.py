"""Names of what is made of a target: as users write it, safe for every file system, grouped in TensorBoard."""

import pytest

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Channel, Function, Layer, Logit, Neuron, Objective, Probability
from lightning_fv.targets import Target

CRANES = ("crane", "pizza", "crane", "", "7 up!")


@pytest.mark.parametrize(
    ("objective", "text", "file", "tag"),
    [
        (Logit(1), "logits:pizza", "logits-0001-pizza", "logits/pizza"),
        (Logit(0), "logits:crane", "logits-0000-crane", "logits/crane (0)"),
        (Logit(2), "logits:crane", "logits-0002-crane", "logits/crane (2)"),
        (Logit(3), "logits:3", "logits-0003", "logits/3"),
        (Probability(4), "probability:7 up!", "probability-0004-7-up", "probability/7 up!"),
        (Channel("layer1.0", 12), "layer1.0:12", "layer1.0-0012", "layer1.0/12"),
        (Neuron("body", 3, 1, 2, of=(4, 4)), "body:3@1,2", "body-0003-y1-x2", "body/3@1,2"),
        (Layer("body"), "body", "body-all", "body/all"),
        (Channel("Body", 1), "Body:1", "Body-0001-df568439", "Body/1"),
        (Channel("aux.0", 1), "aux.0:1", "aux-0-0001-78102205", "aux.0/1"),
    ],
    ids=repr,
)
def test_names(objective: Objective, text: str, file: str, tag: str) -> None:
    target = Target.of(objective, CRANES)
    assert (target.text, target.id, target.tag) == (text, file, tag)
    assert (target.key, target.class_index) == (objective.key, objective.class_index)


def test_without_class_names() -> None:
    target = Target.of(Logit(1))
    assert (target.text, target.id, target.tag) == ("logits:1", "logits-0001", "logits/1")


def test_a_layer_called_probability_is_not_the_classes() -> None:
    layer, classes = Target.of(Channel("probability", 3)), Target.of(Probability(3))
    assert layer.text == "Channel('probability', 3)"
    assert layer.id != classes.id
    assert layer.key != classes.key


def test_an_objective_that_cannot_be_identified_is_no_target() -> None:
    class Own(Function):
        def __repr__(self) -> str:
            return object.__repr__(self)

    with pytest.raises(TargetError, match=r"repr contains 'at 0x[0-9a-f]+'"):
        Target.of(Own(len, [], name="x"))
