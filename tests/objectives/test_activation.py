from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from lightning_fv.networks.capture import capture
from lightning_fv.objectives import LOGITS, Channel, Layer, Logit, Neuron, Objective, Probability
from tests.helpers import TinyNet, noise

MAPS = noise(4, 6, 5, 3, seed=1)
VECTORS = noise(4, 6, seed=2)
LOGIT = noise(4, 7, seed=3)
IMAGES = torch.full((4, 3, 9, 7), 0.5)
UNITS = (5, 0, 3, 3)
ROWS = np.arange(4)


def read(objective: Objective, device: torch.device, dtype: torch.dtype = torch.float32) -> np.ndarray:
    seen = {"maps": MAPS, "vectors": VECTORS, LOGITS: LOGIT}
    value = objective({name: x.to(device, dtype) for name, x in seen.items()}, IMAGES.to(device))
    assert value.dtype == torch.float32
    assert value.shape == (4,)
    return value.cpu().numpy()


def everything() -> list[tuple[Objective, np.ndarray]]:
    maps, vectors, logits = MAPS.numpy(), VECTORS.numpy(), LOGIT.numpy()
    units = np.array(UNITS)
    return [
        (Channel("maps", 4), maps[:, 4].mean((1, 2))),
        (Channel("maps", UNITS), maps[ROWS, units].mean((1, 2))),
        (Channel("maps", list(UNITS)), maps[ROWS, units].mean((1, 2))),
        (Channel("vectors", 4), vectors[:, 4]),
        (Channel("vectors", UNITS), vectors[ROWS, units]),
        (Neuron("maps", 4, 3, 2), maps[:, 4, 3, 2]),
        (Neuron("maps", UNITS, 4, 0), maps[ROWS, units, 4, 0]),
        (Layer("maps"), (maps**2).mean((1, 2, 3))),
        (Layer("vectors"), (vectors**2).mean(1)),
        (Logit(6), logits[:, 6]),
        (Logit(UNITS), logits[ROWS, units]),
        (Probability(6), softmax(logits, 1)[:, 6]),
        (Probability(UNITS), softmax(logits, 1)[ROWS, units]),
    ]


@pytest.mark.parametrize(
    ("objective", "expected"), everything(), ids=lambda x: repr(x) if isinstance(x, Objective) else ""
)
def test_is_its_formula(objective: Objective, expected: np.ndarray, device: torch.device) -> None:
    np.testing.assert_allclose(read(objective, device), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "expected"), everything(), ids=lambda x: repr(x) if isinstance(x, Objective) else ""
)
def test_half_precision_activations_give_float32(
    objective: Objective, expected: np.ndarray, device: torch.device
) -> None:
    np.testing.assert_allclose(read(objective, device, torch.bfloat16), expected, rtol=0.05, atol=0.02)


def test_mean_of_a_large_half_precision_map_is_exact(device: torch.device) -> None:
    """Summed in bfloat16, 10000 times 1.5 would come out far off."""
    maps = torch.full((1, 1, 100, 100), 1.5, dtype=torch.bfloat16, device=device)
    assert Channel("maps", 0)({"maps": maps}, IMAGES[:1]).item() == 1.5
    assert Layer("maps")({"maps": maps}, IMAGES[:1]).item() == 2.25


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


@pytest.mark.parametrize(
    ("objective", "layers"),
    [
        (Channel("maps", 1), {"maps"}),
        (Neuron("a.b", 1, 0, 0), {"a.b"}),
        (Layer("relu#1"), {"relu#1"}),
        (Logit(1), {"logits"}),
        (Probability(1), {"logits"}),
    ],
    ids=repr,
)
def test_layers(objective: Objective, layers: set[str]) -> None:
    assert objective.layers == layers


def test_units_can_be_read_without_gradient_first(device: torch.device) -> None:
    """A look at a picture in inference mode must not spoil the next step of the ascent."""
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
