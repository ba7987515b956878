from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv import load_network, render
from lightning_fv.errors import UsageError
from lightning_fv.objectives import LayerDistance, Logit
from tests.helpers import assert_gradient, noise
from tests.objectives.pictures import logits, rendered

NAME = "maps of the start"
FOUND, START, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 6, 5, 3, seed=2), noise(4, 3, 9, 7)


def expected(found: Tensor) -> list[float]:
    """By the formula, position by position, in numpy."""
    values = []
    for a, s in zip(found.double().numpy(), START.double().numpy(), strict=True):
        places = list(np.ndindex(5, 3))
        moved = [np.linalg.norm(a[:, y, x] - s[:, y, x]) for y, x in places]
        values.append(float(np.mean(moved) / np.mean([np.linalg.norm(s[:, y, x]) for y, x in places])))
    return values


def test_the_mean_distance_relative_to_the_start() -> None:
    np.testing.assert_allclose(LayerDistance("maps")({"maps": FOUND, NAME: START}, IMAGES), expected(FOUND), rtol=1e-5)
    twice = LayerDistance("maps", 2.0)({"maps": FOUND, NAME: START}, IMAGES)
    np.testing.assert_allclose(twice, 2 * np.array(expected(FOUND)), rtol=1e-5)
    torch.testing.assert_close(LayerDistance("maps")({"maps": 0 * START, NAME: START}, IMAGES), torch.ones(4))
    with pytest.raises(UsageError, match="finite weight, got nan"):
        LayerDistance("maps", float("nan"))


def test_its_gradient_which_is_finite_at_the_start() -> None:
    maps = FOUND.double().requires_grad_()
    value = LayerDistance("maps")({"maps": maps, NAME: START.double()}, IMAGES)
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    assert_gradient(gradient, expected, FOUND, ((0, 1, 2, 1), (3, 5, 0, 0)), rel=1e-4)
    here = START.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(LayerDistance("maps")({"maps": here, NAME: START}, IMAGES).sum(), here)
    assert bool(gradient.isfinite().all())


def test_a_picture_stays_near_its_start_and_still_excites_its_unit() -> None:
    """A beacon with more pizza, and a pizza with more lion; the more weight, the nearer and the less of it."""
    photos = rendered()
    moved, reached = [torch.zeros(2)], [logits(photos, "pizza", "lion")]
    for weight in (8.0, 1.0, 0.0):
        penalties: list[Any] = [LayerDistance("layer2", weight)] if weight else []
        options: dict[str, Any] = {"steps": 32, "start": photos, "penalties": penalties, "progress": False}
        rendering = render("demo", "logits:pizza+logits:lion", **options)
        moved.append((rendering.images - photos).abs().mean((1, 2, 3)))
        reached.append(rendering.scores)
    assert bool((torch.stack(moved).diff(dim=0) > 0.01).all())
    assert bool((reached[1] > reached[0] + 1).all())
    assert bool((reached[2] > reached[1] + 1).all())


def test_as_a_term_it_is_subtracted_as_it_is() -> None:
    photos = rendered()[:1]
    target = Logit(11) - 10 * LayerDistance("layer2")
    rendering = render(load_network("demo"), target, steps=1, start=photos, transforms=[], progress=False)
    network = load_network("demo")
    with network.frozen(), torch.no_grad():
        seen, start = (network.activations(x, ["layer2", "logits"]) for x in (rendering.images, photos))
        distance = LayerDistance("layer2")({**seen, "layer2 of the start": start["layer2"]}, rendering.images)
    torch.testing.assert_close(rendering.scores, seen["logits"][:, 11] - 10 * distance, rtol=1e-4, atol=1e-4)
