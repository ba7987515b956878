"""Laws of the composition: it is arithmetic on (B,) numbers, and its text can be read back."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_fv import objectives
from lightning_fv.objectives import L1, L2, Channel, Layer, Logit, Neuron, Objective, Probability, TotalVariation
from lightning_fv.objectives.base import Activations
from tests.helpers import noise

NAMES = {name: getattr(objectives, name) for name in objectives.__all__}

A = Channel("conv", 3)
B = Neuron("conv", (0, 1, 2, 5), 2, 1)
C = Logit(2)

SINGLE = [
    A,
    B,
    C,
    Channel("conv", (0, 1, 2, 5)),
    Layer("conv"),
    Logit((0, 1, 2, 2)),
    Probability(1),
    L1(),
    L1(0.25, 0.3),
    L2(2.0),
    L2(center=0.1),
    TotalVariation(1e-3),
    Channel('it\'s a."layer"', 1),
]


class Counted(Objective):
    """The batch's first activation; counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    @property
    def layers(self) -> frozenset[str]:
        return frozenset(("conv",))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        self.calls += 1
        return activations["conv"].flatten(1)[:, 0]

    def __repr__(self) -> str:
        return "Counted()"


@pytest.fixture
def seen(device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """What four pictures give, and the pictures."""
    activations = {"conv": noise(4, 6, 5, 3, seed=1).to(device), "logits": noise(4, 3, seed=2).to(device)}
    return activations, noise(4, 3, 7, 5, seed=3).sigmoid().to(device)


def close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == (4,)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


LAWS: dict[str, tuple[Callable[..., Objective], Callable[..., Tensor]]] = {
    law: (eval(f"lambda a, b, c: {law}"), eval(f"lambda a, b, c: {law}"))
    for law in (
        "a + b",
        "a - b",
        "b - a",
        "-a",
        "-(-a)",
        "2 * a",
        "a * 2",
        "a * b",
        "b * a",
        "a * a",
        "a + 1",
        "1 + a",
        "1 - a",
        "a - 1",
        "a * 0.5 - b * 2 + c",
        "a - (b - c)",
        "a - (b + c) * 2",
        "(a + b) * c",
        "c * (a - b)",
        "(a + 1) * (b - 2) * c",
        "0 * a",
        "0 * a + 3",
        "a * b * c - 2 * a * c - 1",
        "1e-7 * a + 12345.678901 * b",
        "1 / 3 * a",
    )
}


@pytest.mark.parametrize("law", LAWS)
def test_composition_is_arithmetic(law: str, seen: tuple[dict[str, Tensor], Tensor]) -> None:
    compose, calculate = LAWS[law]
    before = [repr(operand) for operand in (A, B, C)]
    composed = compose(A, B, C)
    assert isinstance(composed, Objective)
    got, expected = composed(*seen), calculate(A(*seen), B(*seen), C(*seen))
    assert got.shape == (4,)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert [repr(operand) for operand in (A, B, C)] == before


@pytest.mark.parametrize("law", LAWS)
def test_text_reads_back_to_the_same_numbers(law: str, seen: tuple[dict[str, Tensor], Tensor]) -> None:
    composed = LAWS[law][0](A, B, C)
    again = eval(repr(composed), NAMES)
    assert torch.equal(again(*seen), composed(*seen))


@pytest.mark.parametrize("law", LAWS)
def test_text_reads_back_to_an_equal_objective(law: str) -> None:
    composed = LAWS[law][0](A, B, C)
    assert eval(repr(composed), NAMES) == composed


@pytest.mark.parametrize("text", ["1 * a", "0 + a", "1 + (2 + a)", "1 - (2 - a)", "2 * a - a"])
def test_text_of_leading_numbers_and_ones_reads_back_to_an_equal_objective(text: str) -> None:
    composed = eval(text, {"a": A})
    assert eval(repr(composed), NAMES) == composed


@pytest.mark.parametrize("objective", SINGLE, ids=repr)
def test_text_of_a_single_one_reads_back(objective: Objective) -> None:
    again = eval(repr(objective), NAMES)
    assert again == objective
    assert hash(again) == hash(objective)
    assert type(again) is type(objective)
    assert vars(again) == vars(objective)


def test_unlike_objectives_are_unequal() -> None:
    assert len(set(SINGLE)) == len(SINGLE)
    assert A + B != B + A  # equal means written alike
    assert A != "Channel('conv', 3)"


def test_difference_with_itself_is_zero(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    composed = A * B + 2 * C
    assert torch.equal((composed - composed)(*seen).cpu(), torch.zeros(4))


def test_division_by_a_number() -> None:
    assert A / 2 == 0.5 * A
    assert (A + 3) / 2 == 0.5 * A + 1.5
    with pytest.raises(TypeError, match="unsupported operand"):
        A / A
    with pytest.raises(ZeroDivisionError):
        A / 0


def test_product_distributes(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    close(((A + B) * C)(*seen), (A * C + B * C)(*seen))
    assert (A + B) * C == A * C + B * C


def test_builtin_sum(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    close(sum([A, B, C])(*seen), A(*seen) + B(*seen) + C(*seen))
    assert torch.equal(sum([A])(*seen), A(*seen))


def test_a_constant_alone_has_a_number_per_picture(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    close((0 * A + 3)(*seen), torch.full((4,), 3.0, device=seen[1].device))


def test_layers_are_those_of_all_parts() -> None:
    assert (A * C - 2 * Layer("late") + L1() + 1).layers == {"conv", "logits", "late"}
    assert (L1() + TotalVariation()).layers == frozenset()


def test_thousands_of_terms_need_no_recursion(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    parts = [Channel("conv", number % 6) for number in range(3000)]
    composed = sum(parts)
    activations, images = seen
    activations["conv"].requires_grad_()
    values = composed(activations, images)
    torch.testing.assert_close(values, 500 * activations["conv"].mean((2, 3)).sum(1), atol=1e-2, rtol=1e-3)
    values.sum().backward()
    expected = torch.full_like(activations["conv"], 500 / 15)
    torch.testing.assert_close(activations["conv"].grad, expected, atol=0, rtol=1e-3)
    assert repr(composed).count("Channel") == 3000
    assert composed.layers == {"conv"}


def test_a_shared_part_is_evaluated_once(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    shared = Counted()
    value = shared(*seen)
    close((shared * shared - 2 * shared + (A + shared) * shared)(*seen), 2 * value**2 - 2 * value + A(*seen) * value)
    assert shared.calls == 2  # one by us, one by the composition


def test_a_part_is_evaluated_anew_each_time(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    composed = A + B
    first = composed(*seen)
    doubled = {name: 2 * activation for name, activation in seen[0].items()}
    close(composed(doubled, seen[1]), 2 * first)


def test_copies_and_pickles_are_equal(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    composed = A * B - 0.5 * L1()
    for twin in (copy.deepcopy(composed), pickle.loads(pickle.dumps(composed))):
        assert twin == composed
        assert torch.equal(twin(*seen), composed(*seen))


def test_a_penalty_is_subtracted(seen: tuple[dict[str, Tensor], Tensor]) -> None:
    close((A - 0.5 * L1())(*seen), A(*seen) - 0.5 * (seen[1] - 0.5).abs().mean((1, 2, 3)))
