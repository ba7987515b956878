import numpy as np
import torch
from torch import Tensor

from lightning_fv import load_network, render
from lightning_fv.objectives import Inversion, stack_objectives
from tests.helpers import assert_gradient, low_pass, noise, smooth_photos
from tests.objectives.pictures import rendered

PHOTO = smooth_photos(12, 10)[0]
NAME = "maps of the photo"
FOUND, WANTED, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 6, 5, 3, seed=2), noise(4, 3, 9, 7)


def expected(found: Tensor) -> list[float]:
    """By the formula, picture by picture, in numpy."""
    pairs = zip(found.double().numpy(), WANTED.double().numpy(), strict=True)
    return [float(-((a - p) ** 2).sum() / (p**2).sum()) for a, p in pairs]


def test_the_squared_distance_relative_to_the_photo() -> None:
    inversion = Inversion("maps", PHOTO)
    np.testing.assert_allclose(inversion({"maps": FOUND, NAME: WANTED}, IMAGES), expected(FOUND), rtol=1e-5)
    assert inversion({"maps": WANTED, NAME: WANTED}, IMAGES).tolist() == [0] * 4
    np.testing.assert_allclose(inversion({"maps": 0 * WANTED, NAME: WANTED}, IMAGES), [-1] * 4, rtol=1e-6)
    nothing = inversion({"maps": FOUND, NAME: 0 * WANTED}, IMAGES)
    assert bool(nothing.isfinite().all())


def test_its_gradient() -> None:
    maps = FOUND.double().requires_grad_()
    value = Inversion("maps", PHOTO)({"maps": maps, NAME: WANTED.double()}, IMAGES)
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    assert_gradient(gradient, expected, FOUND, ((0, 1, 2, 1), (3, 5, 0, 0)), rel=1e-4)


def test_a_batch_is_one_call_whatever_the_photos() -> None:
    both = [Inversion("maps", photo) for photo in smooth_photos(12, 10)]
    ((rows, stack),) = stack_objectives(both)
    assert rows == [0, 1]
    seen = {"maps": FOUND[:2], NAME: WANTED[:2]}
    np.testing.assert_allclose(stack(seen, IMAGES[:2]), expected(FOUND)[:2], rtol=1e-5)

    class Other(Inversion):
        pass

    assert len(stack_objectives([both[0], Other("maps", PHOTO), Inversion("other", PHOTO)])) == 3


def test_a_picture_becomes_the_photo() -> None:
    photos, network = rendered(), load_network("demo")
    targets = [Inversion("layer2", photo) for photo in photos]
    before = render(network, targets, steps=1, progress=False).scores
    after = render(network, targets, steps=32, progress=False)
    assert bool((after.scores > 0.15 * before).all())
    own, other = (np.abs(low_pass(after.images) - low_pass(shown)).mean() for shown in (photos, photos.flip(0)))
    assert own < 0.3 * other
