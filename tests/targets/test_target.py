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
        (Layer("body x2"), "Layer('body x2')", "objective-Layer-body-x2-3205df63", "objective/Layer('body x2')"),
        (Channel("aux.0", 1), "aux.0:1", "aux-0-0001-78102205", "aux.0/1"),
    ],
    ids=repr,
)
def test_names(objective: Objective, text: str, file: str, tag: str) -> None:
    target = Target.of(objective, CRANES)
    assert (target.text, target.id, target.tag) == (text, file, tag)
    assert (target.key, target.class_index) == (objective.key, objective.class_index)


def test_names_of_several_pictures() -> None:
    pictures = [Target.of(Logit(2), CRANES, facet, 3) for facet in (1, 2, 3)]
    assert [one.text for one in pictures] == ["logits:crane #1", "logits:crane #2", "logits:crane #3"]
    assert [one.id for one in pictures] == ["logits-0002-crane-1", "logits-0002-crane-2", "logits-0002-crane-3"]
    assert [one.tag for one in pictures] == ["logits/crane (2) #1", "logits/crane (2) #2", "logits/crane (2) #3"]
    assert {one.unit for one in pictures} == {"logits:crane"}
    named = {"id": "logits-0002-crane-2", "target": "logits:crane #2", "unit": "logits:crane", "facet": 2}
    assert pictures[1].names == named
    assert pictures[0].key == Logit(2).key  # the picture that it is alone
    assert len({one.key for one in pictures}) == 3
    own = Target.of(Function(len, [], name="a/b"), facet=2, facets=2)
    assert (own.text, own.tag) == ("Function(name='a/b', layers=()) #2", "objective/Function(name='a/b', layers=()) #2")
    assert own.id == Target.of(Function(len, [], name="a/b")).id + "-2"
    assert Target.of(Layer("body"), facet=2, facets=2).id == "body-all-2"
    only = Target.of(Logit(1), CRANES)
    assert only.unit == "logits:pizza"
    assert only.names == {"id": "logits-0001-pizza", "target": "logits:pizza"}


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
