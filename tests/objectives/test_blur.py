import numpy as np
import torch
from scipy.ndimage import convolve

from lightning_fv import load_network, render
from lightning_fv.metrics import HighFrequencyEnergy
from lightning_fv.objectives import Blur
from tests.helpers import noise

IMAGES = noise(4, 3, 7, 5, seed=1).sigmoid()
X = IMAGES.double().numpy()
WEIGHTS = np.array([[[[0.5, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 0.5]]]])
BLURRED = convolve(X, WEIGHTS, mode="constant") / convolve(np.ones_like(X), WEIGHTS, mode="constant")


def test_is_its_formula(device: torch.device) -> None:
    expected = ((X - BLURRED) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(Blur()({}, IMAGES.to(device)).cpu(), expected, rtol=1e-5)
    np.testing.assert_allclose(Blur(0.3)({}, IMAGES.to(device)).cpu(), 0.3 * expected, rtol=1e-5)


def test_its_gradient_is_towards_the_blurred_picture() -> None:
    images = IMAGES.double().requires_grad_()
    (gradient,) = torch.autograd.grad(Blur()({}, images).sum(), images)
    np.testing.assert_allclose(gradient, 2 * (X - BLURRED) / (3 * 7 * 5), rtol=1e-9)
    with torch.no_grad():  # a step of 1/2 sum (x - blur)^2, as in Lucid, of length 1 is the blur itself
        np.testing.assert_allclose(images - gradient * (3 * 7 * 5) / 2, BLURRED, rtol=1e-9)


def test_pictures_are_smoother() -> None:
    network, found = load_network("demo"), []
    for penalties in ([], [Blur(3000.0)]):
        options = {"steps": 24, "penalties": penalties, "progress": False}
        found.append(render(network, "logits:pizza+logits:lion", **options))
    sharp, smooth = (float(HighFrequencyEnergy()(rendering.images)) for rendering in found)
    assert smooth < 0.7 * sharp
    assert bool((found[1].scores > 5).all())


def test_text() -> None:
    assert [repr(Blur()), repr(Blur(0.5))] == ["Blur()", "Blur(0.5)"]
