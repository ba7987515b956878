"""The redirected ReLU: same values, and a gradient where there would be none."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_fv import load_network, render
from lightning_fv.objectives import Neuron
from lightning_fv.optimization.redirected_relu import RedirectedReLU


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), F.relu, torch.relu, torch.Tensor.relu,
        lambda x: F.relu(x, inplace=True), lambda x: torch.relu_(x), lambda x: x.relu_(),
    ],
)  # fmt: skip
def test_values_and_open_gradients_are_unchanged(relu: object) -> None:
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)) * 5
    plain, redirected = (x.clone().requires_grad_() for _ in range(2))
    y = relu(plain * 1)  # type: ignore[operator]
    with RedirectedReLU():
        z = relu(redirected * 1)  # type: ignore[operator]
    assert torch.equal(y, z)
    y.sin().sum().backward()
    z.sin().sum().backward()
    assert torch.equal(plain.grad, redirected.grad)  # type: ignore[arg-type]


def test_only_a_blocked_picture_is_redirected_and_only_upwards() -> None:
    x = torch.tensor([[-1.0, -2.0], [1.0, -2.0]], requires_grad=True)
    with RedirectedReLU():
        y = F.relu(x)
    y.backward(torch.tensor([[3.0, -4.0], [3.0, 4.0]]))  # of an objective, to be followed upwards
    assert x.grad is not None
    assert x.grad.tolist() == [[3.0, 0.0], [3.0, 0.0]]


@pytest.mark.parametrize("relu6", [nn.ReLU6(), nn.ReLU6(inplace=True), F.relu6, lambda x: F.hardtanh(x, 0, 6)])
def test_relu6_is_redirected_on_both_sides(relu6: Callable[[Tensor], Tensor]) -> None:
    """The module calls another function than F.relu6."""
    x = torch.tensor([[-1.0, 7.0], [1.0, 7.0]], requires_grad=True)
    with RedirectedReLU():
        y = relu6(x * 1)
    assert y.tolist() == [[0.0, 6.0], [1.0, 6.0]]
    y.backward(torch.tensor([[3.0, 4.0], [3.0, -4.0]]))
    assert x.grad is not None
    assert x.grad.tolist() == [[3.0, 0.0], [3.0, 0.0]]


def test_other_bounds_are_no_relu() -> None:
    x = torch.tensor([[-2.0]], requires_grad=True)
    with RedirectedReLU():
        F.hardtanh(x).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == 0


def test_only_the_pictures_that_are_asked_for_are_redirected() -> None:
    x = torch.full((3, 2), -1.0, requires_grad=True)
    with RedirectedReLU(torch.tensor([False, True, False])):
        y = F.relu(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]


def test_one_number_per_picture_is_redirected_too() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    with RedirectedReLU():
        objective = x.relu().sum()
    objective.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_caller_that_ignores_the_result_of_an_in_place_relu_sees_it() -> None:
    x = torch.tensor([-1.0, 2.0])
    with RedirectedReLU():
        F.relu(x, inplace=True)
    assert x.tolist() == [0.0, 2.0]


def test_neurons_that_noise_does_not_excite_wake_up() -> None:
    network = load_network("demo")
    targets = [Neuron("layer3", unit, 3, 4) for unit in range(16)]
    grey = network.capture(torch.full((1, 3, 64, 64), 0.5), ["layer3"])["layer3"][0, :16, 3, 4]
    assert int((grey == 0).sum()) >= 4  # else this shows nothing
    rendering = render(network, targets, steps=24, progress=False)
    assert {record.status for record in rendering.records} == {"done"}
    assert float(rendering.scores.min()) > 0


@pytest.mark.parametrize(
    ("nonlinearity", "lowest"),
    [(nn.GELU(), -0.7518), (nn.GELU(approximate="tanh"), -0.7525), (nn.SiLU(), -1.2785), (F.gelu, -0.7518)],
)
def test_a_gelu_leads_upwards_out_of_its_left_side(nonlinearity: Callable[[Tensor], Tensor], lowest: float) -> None:
    x = torch.tensor([[-3.0, -2.0], [-3.0, 0.5], [lowest + 0.05, -2.0]], requires_grad=True)
    (ordinary,) = torch.autograd.grad(nonlinearity(x).sum(), x)
    assert bool((ordinary[0] < 0).all())  # as ascent would follow it, further down
    with RedirectedReLU():
        y = nonlinearity(x)
    torch.testing.assert_close(y, nonlinearity(x), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient[0].tolist() == [1.0, 1.0]
    torch.testing.assert_close(gradient[1:], ordinary[1:])  # something on the right of it has a gradient already
    with RedirectedReLU(torch.tensor([False, True, True])):
        y = nonlinearity(x)
    torch.testing.assert_close(torch.autograd.grad(-y.sum(), x)[0], -ordinary)


def test_a_neuron_behind_a_gelu_wakes_up() -> None:
    result = render("demo/vit", "blocks.4.mlp.1:5", steps=48, progress=False)
    assert result.scores[0] > 0.5
