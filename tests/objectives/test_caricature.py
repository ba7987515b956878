import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv import load_network, render
from lightning_fv.errors import TargetError
from lightning_fv.objectives import Caricature, stack_objectives
from tests.helpers import assert_gradient, low_pass, noise, smooth_photos
from tests.objectives.pictures import rendered

PHOTO = smooth_photos(12, 10)[0]
NAME = "maps of the photo"
FOUND, WANTED, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 6, 5, 3, seed=2), noise(4, 3, 9, 7)
FOUND[2] = WANTED[2] + FOUND[2]  # others have a cosine of about 0


def expected(found: Tensor, power: float) -> list[float]:
    """By the formula, picture by picture, in numpy."""
    values = []
    for a, p in zip(found.double().flatten(1).numpy(), WANTED.double().flatten(1).numpy(), strict=True):
        length, cosine = np.linalg.norm(p), a @ p / np.linalg.norm(a) / np.linalg.norm(p)
        values.append(float(a @ p / length * max(cosine, 0.1) ** power))
    return values


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_the_product_times_a_power_of_the_cosine(power: float) -> None:
    value = Caricature("maps", PHOTO, power)({"maps": FOUND, NAME: WANTED}, IMAGES)
    np.testing.assert_allclose(value, expected(FOUND, power), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_its_gradient(power: float) -> None:
    maps = FOUND.double().requires_grad_()
    value = Caricature("maps", PHOTO, power)({"maps": maps, NAME: WANTED.double()}, IMAGES)
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    assert_gradient(
        gradient, lambda maps: expected(maps, power), FOUND, ((0, 1, 2, 1), (2, 5, 0, 0)), rel=1e-3, abs=1e-6
    )


def test_the_photo_twice_as_strong_is_better_at_any_power() -> None:
    for power in (0.0, 1.0, 4.0):
        caricature = Caricature("maps", PHOTO, power)
        same = caricature({"maps": WANTED, NAME: WANTED}, IMAGES)
        torch.testing.assert_close(same, WANTED.flatten(1).norm(dim=1))
        torch.testing.assert_close(caricature({"maps": 2 * WANTED, NAME: WANTED}, IMAGES), 2 * same)
    assert bool(Caricature("maps", PHOTO)({"maps": 0 * FOUND, NAME: 0 * WANTED}, IMAGES).isfinite().all())


@pytest.mark.parametrize("power", [-1, float("nan"), float("inf")])
def test_powers_that_are_none(power: float) -> None:
    with pytest.raises(TargetError, match="finite cosine_power of at least 0"):
        Caricature("maps", PHOTO, power)


def test_a_batch_is_one_call_for_each_power() -> None:
    photos = smooth_photos(12, 10)
    alike = [Caricature("maps", photo, 2.0) for photo in photos]
    groups = stack_objectives([*alike, Caricature("maps", PHOTO, 1.0)])
    assert [rows for rows, _ in groups] == [[0, 1], [2]]


def test_it_shows_the_photo_more_strongly() -> None:
    photos, network = rendered(), load_network("demo")
    targets = [Caricature("layer2", photo) for photo in photos]
    shown = render(network, targets, steps=1, start=photos, progress=False).scores
    after = render(network, targets, steps=48, progress=False)
    assert bool((after.scores > shown).all())
    own, other = (np.abs(low_pass(after.images) - low_pass(shown)).mean() for shown in (photos, photos.flip(0)))
    assert own < 0.4 * other
