"""What the objectives of one layer have in common: identity, text, stacking, types, gradients."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.networks.capture import capture
from lightning_fv.objectives import LOGITS, Channel, Layer, Logit, Neuron, Objective, Probability
from lightning_fv.objectives.base import Activations
from tests.helpers import TinyNet, noise

MAPS = noise(4, 6, 5, 3, seed=1)
VECTORS = noise(4, 6, seed=2)
LOGIT = noise(4, 7, seed=3)
IMAGES = torch.full((4, 3, 9, 7), 0.5)
UNITS = (5, 0, 3, 3)


def read(objective: Objective, device: torch.device, dtype: torch.dtype = torch.float32) -> np.ndarray:
    seen = {"maps": MAPS, "vectors": VECTORS, LOGITS: LOGIT}
    value = objective({name: x.to(device, dtype) for name, x in seen.items()}, IMAGES.to(device))
    assert value.dtype == torch.float32
    assert value.shape == (4,)
    return value.cpu().numpy()


OBJECTIVES = [
    *(Channel(layer, units) for layer in ("maps", "vectors") for units in (4, UNITS)),
    *(Neuron("maps", units, 3, 2) for units in (4, UNITS)),
    *(make(units) for make in (Logit, Probability) for units in (6, UNITS)),
    Layer("maps"),
    Layer("vectors"),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_half_precision_activations_give_float32(objective: Objective, device: torch.device) -> None:
    exact, rough = read(objective, device), read(objective, device, torch.bfloat16)
    np.testing.assert_allclose(rough, exact, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("units", [(1,), (1, 2, 3), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize(
    "make",
    [lambda u: Channel("maps", u), lambda u: Neuron("maps", u, 0, 0), Logit, Probability],
    ids=["Channel", "Neuron", "Logit", "Probability"],
)
def test_wrong_number_of_units_is_refused(
    make: Callable[[tuple[int, ...]], Objective], units: tuple[int, ...], device: torch.device
) -> None:
    with pytest.raises(ValueError, match=f"{len(units)} units for a batch of 4 pictures"):
        read(make(units), device)


def test_units_can_be_read_without_gradient_first(device: torch.device) -> None:
    """Cached indices that were made in inference mode must not spoil a later backward pass."""
    unit = (4, 2, 1, 0)  # of no other test
    with torch.inference_mode():
        read(Channel("maps", unit), device)
    maps = MAPS.to(device).requires_grad_()
    Channel("maps", unit)({"maps": maps}, IMAGES).sum().backward()
    assert maps.grad is not None
    assert (maps.grad.flatten(2).abs().sum(2) > 0).sum(1).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "objective",
    [
        Channel("conv1", (0, 3)),
        Channel("relu", 2),
        Channel("conv2", (4, 1)),
        Neuron("bn", 5, 3, 2),
        Layer("relu"),
        Logit((1, 4)),
        Probability((1, 4)),
        Logit(0) - 0.1 * Layer("conv1"),
        Channel("conv2", 0) * Channel("conv2", 0),
    ],
    ids=repr,
)
def test_rises_when_its_gradient_is_followed(objective: Objective, tiny_network: TinyNet, photo: Tensor) -> None:
    images = photo.to(next(tiny_network.parameters()).device)
    values = []
    for _ in range(6):
        images = images.detach().requires_grad_()
        value = objective(capture(tiny_network, images, objective.layers), images)
        values.append(value.detach())
        (gradient,) = torch.autograd.grad(value.sum(), images)
        length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        images = images + 0.1 * gradient / length[:, None, None, None]
    rises = torch.stack(values).diff(dim=0)
    assert (rises > 0).all()


IDENTITIES = [
    (Channel("layer4", 12), "channel:layer4:12:None", "layer4:12", "layer4-0012", None),
    (Neuron("layer4", 3, 1, 2, of=(4, 4)), "neuron:layer4:3:(1, 2)", "layer4:3@1,2", "layer4-0003-y1-x2", None),
    (Layer("layer3"), "layer:layer3:None:None", "layer3", "layer3-all", None),
    (Logit(1), "logit:logits:1:None", "logits:pizza", "logits-0001", 1),
    (Probability(0), "probability:logits:0:None", "probability:lion", "probability-0000", 0),
]


@pytest.mark.parametrize(("objective", "key", "text", "stem", "index"), IDENTITIES, ids=repr)
def test_identity(objective: Objective, key: str, text: str, stem: str, index: int | None) -> None:
    """The keys seed the random draws: pictures keep their bits as long as these strings stay."""
    assert objective.key == key
    assert objective.text(("lion", "pizza")) == text
    assert objective.file_stem == stem
    assert objective.class_index == index
    assert objective.layers == {key.split(":")[1]}


def test_a_class_without_a_name_is_written_by_its_index() -> None:
    assert Logit(1).text() == "logits:1"
    assert Logit(1).text(("lion", "")) == "logits:1"


@pytest.mark.parametrize("layer", ["a+b", "a:1", " a", "probability"])
def test_a_layer_that_the_grammar_cannot_read_is_written_as_an_expression(layer: str) -> None:
    for objective in (Channel(layer, 3), Layer(layer), Neuron(layer, 3, 0, 0, of=(4, 4))):
        assert objective.text() == repr(objective)
        assert objective.file_stem is None


class Squared(Channel):
    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return super().__call__(activations, images).square()


def test_a_subclass_is_another_objective() -> None:
    mine, theirs = Squared("maps", 4), Channel("maps", 4)
    assert mine.key == mine.text() == "Squared('maps', 4)"
    assert mine.file_stem is None
    assert not mine.same_as(theirs)
    assert mine.stack_key != theirs.stack_key
    assert type("MyLogit", (Logit,), {})(3).class_index is None


def test_units_are_plain_numbers_from_0() -> None:
    assert Channel("maps", np.int64(3)).key == Channel("maps", torch.tensor(3)).key == "channel:maps:3:None"  # type: ignore[arg-type]
    for unit, told in ((-1, "start at 0, got -1"), ((2, -3), "start at 0, got -3"), (1.5, "whole number, not 1.5")):
        with pytest.raises(TargetError, match=told):
            Channel("maps", unit)  # type: ignore[arg-type]


def test_units_of_a_batch_stack_in_order() -> None:
    stacked = Neuron("maps", 4, 3, 2).stacked([Neuron("maps", 4, 3, 2), Neuron("maps", (1, 0), 3, 2)])
    assert stacked == Neuron("maps", (4, 1, 0), 3, 2)
    assert Neuron("maps", 4, 3, 2).stack_key != Neuron("maps", 4, 2, 3).stack_key


def test_a_name_is_no_unit() -> None:
    with pytest.raises(TargetError, match=r"not the name 'pizza'; .*'logits:pizza'.*categories\.index\('pizza'\)"):
        Logit("pizza")  # type: ignore[arg-type]
