import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from lightning_fv import load_network, render
from lightning_fv.errors import UsageError
from lightning_fv.objectives import Boundary
from tests.helpers import noise

IMAGES = noise(4, 3, 9, 12, seed=1).sigmoid()
X = IMAGES.double().numpy()
WEIGHTS = np.full((1, 1, 5, 5), 0.5)
WEIGHTS[..., 1:4, 1:4] = 1
BLURRED = convolve(X, WEIGHTS, mode="constant") / convolve(np.ones_like(X), WEIGHTS, mode="constant")


def expected(reach: int, center: float) -> np.ndarray:
    frame = np.ones((9, 12), dtype=bool)
    frame[reach : 9 - reach, reach : 12 - reach] = False
    return ((X - BLURRED) ** 2 + 0.8 * (X - center) ** 2)[:, :, frame].mean((1, 2))


def test_is_its_formula(device: torch.device) -> None:
    images = IMAGES.to(device)
    np.testing.assert_allclose(Boundary()({}, images).cpu(), expected(1, 0.5), rtol=1e-5)
    other = Boundary(0.25, width=1 / 3, center=0.2)({}, images).cpu()
    np.testing.assert_allclose(other, 0.25 * expected(3, 0.2), rtol=1e-5)
    np.testing.assert_allclose(Boundary(width=0.5)({}, images[:, :, :, :9]).cpu().isfinite(), [True] * 4)
    assert bool(Boundary(width=1e-6)({}, images[:, :, :1, :1]).isfinite().all())


def test_what_is_inside_the_frame_is_not_penalized() -> None:
    images = torch.full((1, 3, 32, 32), 0.5)
    images[:, :, 10:22, 10:22] = IMAGES[:1, :, :1, :12]
    assert float(Boundary()({}, images)) == 0


def test_settings_that_are_none() -> None:
    for width in (0, 0.6, float("nan")):
        with pytest.raises(UsageError, match="width above 0 and at most a half"):
            Boundary(width=width)
    with pytest.raises(UsageError, match=r"center in \[0, 1\]"):
        Boundary(center=-1)


def test_pictures_are_grey_at_the_border() -> None:
    network, found = load_network("demo"), []
    for penalties in ([], [Boundary(300.0)]):
        options = {"steps": 24, "penalties": penalties, "progress": False}
        found.append(render(network, "logits:pizza+logits:lion", **options))
    free, framed = (Boundary(width=0.1)({}, rendering.images) for rendering in found)
    assert bool((framed < 0.3 * free).all())
    assert bool((found[1].scores > 5).all())


def test_text() -> None:
    assert [repr(Boundary()), repr(Boundary(2.0, width=0.25))] == ["Boundary()", "Boundary(2.0, width=0.25)"]
