"""What stands below a picture."""

import dataclasses

import pytest
import torch

from lightning_fv import load_network, resolve_targets
from lightning_fv.objectives import Channel, Function, Layer, Logit, Minimum, Objective, Probability
from lightning_fv.runs.captions import caption, network_label, picture_caption
from lightning_fv.runs.record import Record

RECORD = Record("0", "logits:pizza", "demo", "done", 12.5, "0.png", [37, 29], 8, 0, 0.1)


def mean(activations: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    return activations["layer1"].flatten(1).mean(1)


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (Function(mean, ["layer3"]), "mean(layer3)"),
        (Function(mean, ["b", "a"], name='it\'s "mine"'), 'it\'s "mine"(a, b)'),
        (Function(mean, []), "mean()"),
        (0.5 * Logit(11) + 0.5 * Logit(13), "sum(0.5*logits:11 + 0.5*logits:13)"),
        (Channel("layer4", 12) - 0.3 * Channel("layer4", 40), "sum(layer4:12 - 0.3*layer4:40)"),
        (-Logit(3), "sum(-logits:3)"),
        (2 * Function(mean, ["a"]) * Probability(1) - Layer("b") + 0.1, "sum(2*mean(a)*probability:1 - b + 0.1)"),
        (Minimum([Logit(1), Channel("a.b", 2)]), "Minimum([logits:1, a.b:2])"),
    ],
)
def test_expressions_are_written_as_targets(objective: Objective, told: str) -> None:
    assert caption(objective.text()) == told
    assert caption(f"{objective.text()} #2") == f"{told} #2"


@pytest.mark.parametrize(
    "target", ["logits:pizza", "layer4:12@3,4", "logits:T-shirt - blue", "layer3", "Spread('layer3')", "Logit('a')", ""]
)
def test_everything_else_stays_as_it_is(target: str) -> None:
    assert caption(target) == target


def test_the_ids_of_pictures_are_not_made_from_captions() -> None:
    (target,) = resolve_targets(Function(mean, ["layer1"]), load_network("demo"))
    assert target.id.startswith("objective-Function-name-mean-layers-layer1-")


def test_pictures_of_an_untrained_network_say_so() -> None:
    untrained = network_label(load_network("demo", weights=None))
    assert (network_label(load_network("demo")), untrained) == ("demo", "demo (untrained)")
    assert picture_caption(RECORD) == "logits:pizza"
    assert picture_caption(dataclasses.replace(RECORD, network=untrained)) == "logits:pizza (untrained)"
