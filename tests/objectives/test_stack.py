"""A batch is evaluated in few calls, each image by its own objective."""

import torch

from lightning_fv.objectives import (
    L1,
    Channel,
    Function,
    Layer,
    Logit,
    Neuron,
    Objective,
    Probability,
    stack_objectives,
)
from lightning_fv.objectives.base import Activations
from tests.helpers import noise


def first(activations: Activations, images: torch.Tensor) -> torch.Tensor:
    return activations["maps"].flatten(1)[:, 0]


def second(activations: Activations, images: torch.Tensor) -> torch.Tensor:
    return activations["maps"].flatten(1)[:, 1]


def values(objectives: list[Objective]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Of stacked objectives, of each alone, and the number of calls."""
    images = noise(len(objectives), 3, 7, 5, seed=1).sigmoid()
    seen = {"maps": noise(len(objectives), 6, 5, 3, seed=2), "logits": noise(len(objectives), 6, seed=3)}
    together = torch.full((len(objectives),), torch.nan)
    groups = stack_objectives(objectives)
    for rows, objective in groups:
        together[rows] = objective({name: x[rows] for name, x in seen.items()}, images[rows])
    alone = [
        objective({name: x[row : row + 1] for name, x in seen.items()}, images[row : row + 1])
        for row, objective in enumerate(objectives)
    ]
    return together, torch.cat(alone), len(groups)


def test_each_image_gets_the_value_of_its_own_objective() -> None:
    together, alone, calls = values([
        Logit(2), Channel("maps", 3), Logit(5), Neuron("maps", 1, 2, 2), Probability(1), Neuron("maps", 4, 2, 2),
        Neuron("maps", 4, 2, 1), Layer("maps"), Channel("maps", 0), Layer("maps"), Layer("logits"),
    ])  # fmt: skip
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert calls == 7


def test_a_thousand_logits_are_one_call() -> None:
    together, alone, calls = values([Logit(row % 6) for row in range(1000)])
    assert torch.equal(together, alone)
    assert calls == 1


def test_compositions_of_one_form_are_one_call() -> None:
    same = [Logit(a) - 0.5 * Channel("maps", b) * Logit(b) - L1(0.1) for a, b in ((0, 1), (3, 2), (5, 5))]
    others = [Logit(0) + 0.5 * Channel("maps", 1), Logit(0) - 0.5 * Channel("maps", 1), Logit(0) + 1, Logit(0) + 2]
    together, alone, calls = values([same[0], others[0], same[1], *others[1:], same[2]])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert calls == 1 + len(others)


def test_functions_of_one_name_are_not_mixed_up() -> None:
    """They are refused as targets of one run; here they may meet."""
    both = [Function(fn, ["maps"], name="same") for fn in (first, second)]
    together, alone, calls = values([*both, both[0]])
    assert torch.equal(together, alone)
    assert calls == 2
