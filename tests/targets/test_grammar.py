"""What can be said of targets without a network."""

from functools import partial
from typing import Any

import pytest
from torch import nn

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Channel, Facets, Logit
from lightning_fv.targets import Target, parse_targets
from lightning_fv.targets.grammar import Spec, WeightedSum


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("layer3", [Spec("layer3", "layer3")]),
        ("logits:king penguin", [Spec("logits:king penguin", "logits", "king penguin")]),
        ("layer4:0-3,5", [Spec("layer4:0-3,5", "layer4", "0-3,5")]),
        ("a.b#1[0]:12@3,4", [Spec("a.b#1[0]:12@3,4", "a.b#1[0]", "12", (3, 4))]),
        ("a:1 + b", [Spec("a:1", "a", "1"), Spec("b", "b")]),
        (["a:1+b", "c"], [Spec("a:1", "a", "1"), Spec("b", "b"), Spec("c", "c")]),
        (("a", "b"), [Spec("a", "a"), Spec("b", "b")]),
        ("a:1 x4", [Spec("a:1 x4", "a", "1", facets=4)]),
        ("a:1@2,3 x2+b  x64", [Spec("a:1@2,3 x2", "a", "1", (2, 3), 2), Spec("b  x64", "b", facets=64)]),
        ("a:0-3,5 x1", [Spec("a:0-3,5 x1", "a", "0-3,5")]),
        ("a:king x penguin", [Spec("a:king x penguin", "a", "king x penguin")]),
        ("conv3x3", [Spec("conv3x3", "conv3x3")]),
    ],
)
def test_text(text: Any, specs: list[Spec]) -> None:
    assert parse_targets(text) == specs


def test_objectives_and_targets_among_texts() -> None:
    composed = Logit(1) - Channel("a", 2)
    assert parse_targets(composed) == [composed]
    assert parse_targets(Target.of(Logit(3))) == [Logit(3)]
    assert parse_targets([composed, "a:1", Target.of(Logit(3))]) == [composed, Spec("a:1", "a", "1"), Logit(3)]


def test_a_target_stands_for_all_pictures_of_its_objective() -> None:
    assert parse_targets(Target.of(Logit(3), facet=2, facets=4)) == [Facets(Logit(3), 4)]


def plain(activations: object, images: object) -> None: ...


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ("body:1@a,b", "two whole numbers"),
        ("body:", "cannot read"),
        (":3", "cannot read"),
        ("", "no target; give some"),
        (" \t", "no target; give some"),
        ("a:1+", r"nothing on one side of a \+ in 'a:1\+'"),
        ("a:1++b", r"nothing on one side of a \+"),
        ("@1,2", r"a neuron is LAYER:UNIT@Y,X"),
        ("body@1,2", r"a neuron is LAYER:UNIT@Y,X"),
        ("body:1@", r"a neuron is LAYER:UNIT@Y,X"),
        ("body:1@-1,2", r"a neuron is LAYER:UNIT@Y,X"),
        ("body:1@²,1", r"a neuron is LAYER:UNIT@Y,X"),
        ("body:1@\x1b[31m,1", r"cannot read the target 'body:1@\\x1b\[31m,1'"),
        ("body:1@" + "9" * 5000 + ",0", r"cannot read the target 'body:1@999+ \.\.\. 9+,0'"),
        ("body:1 x0", "'body:1 x0': a target has 1 to 64 pictures, not 0"),
        ("body x65", "'body x65': a target has 1 to 64 pictures, not 65"),
        ("body:1 x" + "9" * 5000, r"a target has 1 to 64 pictures, not 9+$"),
        ("body:1 x" + "0" * 5000 + "4", r"a target has 1 to 64 pictures, not 0$"),
        ("body: x4", "cannot read the target 'body: x4'"),
        ({"body": 1}, "targets are text, objectives or a list of them, not {'body': 1}"),
        (b"body:1", "targets are text, objectives or a list of them, not b'body:1'"),
        ([1, 2], "targets are text, objectives or a list of them, not 1"),
        ([], "no targets"),
        (None, "targets are text, objectives or a list of them, not None"),
        (3, "targets are text, objectives or a list of them, not 3"),
        (["logits:1", 3], "targets are text, objectives or a list of them, not 3"),
        (Channel, r"Channel is a class, not an objective; give an instance: Channel\(...\)"),
        (
            plain,
            r"wrap a function to use it as an objective: lightning_fv.objectives.Function\(plain, layers=\[...\]\)$",
        ),
        ([lambda a, i: i], r"Function\(function, layers=\[...\], name=\"...\"\)$"),
        (partial(plain), r"Function\(function, layers=\[...\], name=\"...\"\)$"),
        (nn.Sequential(), r"Function\(function, layers=\[...\], name=\"...\"\)$"),
        ('[{"class_path": "lightning_fv.objectives.Chanel"}]', "check each class_path and its init_args"),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],  # the same in each process, for tests that run side by side
)
def test_what_is_no_target_is_refused_in_one_line(targets: Any, told: str) -> None:
    with pytest.raises(TargetError, match=told) as caught:
        parse_targets(targets)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_a_weighted_sum_is_one_target() -> None:
    layer = Spec("layer4:12", "layer4", "12"), Spec("layer4:40", "layer4", "40")
    for text, weights in {
        "sum(0.5*layer4:12 - 0.3*layer4:40)": (0.5, -0.3),
        "sum(layer4:12 + layer4:40)": (1.0, 1.0),
        "sum( 2 * layer4:12+1e-3*layer4:40 )": (2.0, 1e-3),
        "sum(- layer4:12 + -.5*layer4:40)": (-1.0, -0.5),
    }.items():
        (found,) = parse_targets(text)
        assert isinstance(found, WeightedSum)
        assert found.terms == tuple(zip(weights, layer, strict=True))
        assert found.text == text
    (three,) = parse_targets("sum(layer4:12 - logits:T-shirt) x3")
    assert isinstance(three, WeightedSum)
    assert (three.facets, three.terms[1]) == (3, (-1.0, Spec("logits:T-shirt", "logits", "T-shirt")))
    several = parse_targets("logits:3+sum(logits:3 + 2*logits:4)+ layer3:0-4")
    assert [str(getattr(item, "text", item)) for item in several] == [
        "logits:3",
        "sum(logits:3 + 2*logits:4)",
        "layer3:0-4",
    ]


@pytest.mark.parametrize("text", ["sum(sum(logits:3))", "sum(logits:3 - 0.5*sum(logits:4 + logits:5))"])
def test_a_sum_within_a_sum_is_refused_as_such(text: str) -> None:
    with pytest.raises(TargetError, match="has a sum within a sum"):
        parse_targets(text)


@pytest.mark.parametrize(
    "text",
    [
        "sum()",
        "sum(",
        "sum(1*)",
        "sum(x*logits:3",
        "sum(1.2.3*logits:3)",
        "sum(logits:3) 4",
        "sum(+)",
        "sum(logits:3 + )",
        "sum(logits:3 -)",
    ],
)
def test_what_is_no_weighted_sum(text: str) -> None:
    with pytest.raises(TargetError, match=r"cannot read the target 'sum.*write sum\(WEIGHT\*TARGET"):
        parse_targets(text)
