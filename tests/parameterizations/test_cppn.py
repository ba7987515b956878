"""What CPPN promises beyond the contract: a network of its own for each picture, which knows no pixels."""

import math

import numpy as np
import pytest
import torch

from lightning_fv import FeatureVisualizer, load_network, render
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.errors import UsageError
from lightning_fv.functional import unpack
from lightning_fv.parameterizations import CPPN
from lightning_fv.parameterizations.cppn import HIDDEN_GAIN, OUTPUT_GAIN, coordinates
from tests.helpers import generators, noise, smooth_photos


def test_the_picture_is_that_of_the_formula() -> None:
    """The docstring's, pixel by pixel in float64, with other places for the constants than the code has."""
    made = CPPN(3, 4, decorrelate=False)
    made.initialize((5, 4), generators([0, 1]))
    with torch.no_grad():
        made.values.add_(noise(*made.values.shape))  # so that biases are not 0
    layers = [x.detach().double().numpy() for x in unpack(made.values, [(4, 3), (4, 9), (4, 9), (3, 9)])]
    expected = np.empty((2, 3, 5, 4))
    for picture in range(2):
        weights = [HIDDEN_GAIN * layer[picture] for layer in layers[:3]] + [OUTPUT_GAIN * layers[3][picture]]
        for row in range(5):
            for column in range(4):
                place = np.array([row - 2.0, column - 1.5]) * 2 * math.sqrt(3) / 5
                u = weights[0] @ [1, *place]
                for layer in weights[1:]:
                    u = layer @ [1, *np.arctan(u) / 0.67, *(np.arctan(u) ** 2 - 0.45) / 0.396]
                expected[picture, :, row, column] = u
    np.testing.assert_allclose(made().detach().double().logit().numpy(), expected, atol=1e-4)


def test_activations_have_mean_0_and_variance_1() -> None:
    a = noise(200_000, dtype=torch.float64).atan()
    for activation in (a / 0.67, (a * a - 0.45) / 0.396):
        assert float(activation.mean()) == pytest.approx(0, abs=0.01)
        assert float(activation.std()) == pytest.approx(1, abs=0.02)


def test_places_have_variance_1_and_pixels_are_square() -> None:
    y, x = coordinates((64, 64))
    assert float(y.var(correction=0)) == pytest.approx(1, rel=1e-3)
    tall = coordinates((6, 2)).view(2, 6, 2)
    assert float(tall[0, 1, 0] - tall[0, 0, 0]) == pytest.approx(float(tall[1, 0, 1] - tall[1, 0, 0]))
    assert tall.sum().abs() < 1e-12
    assert torch.equal(y.view(64, 64), x.view(64, 64).T)


@pytest.mark.parametrize("times", [3, 5])
def test_at_an_odd_multiple_of_the_size_the_same_places_have_the_same_colours(times: int) -> None:
    made = CPPN()
    made.initialize((37, 28), generators([0, 1]))
    before, parameter = made(), made.values
    made.resize((37 * times, 28 * times))
    torch.testing.assert_close(made()[..., times // 2 :: times, times // 2 :: times], before, atol=1e-5, rtol=0)
    assert made.values is parameter
    made.resize((37, 28))
    assert torch.equal(made(), before)


def test_gradient_is_that_of_finite_differences() -> None:
    made = CPPN(3, 2)
    values = noise(2, 2 * 3 + 2 * (2 * 5) + 3 * 5, dtype=torch.float64).mul_(5).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: made.squash(made.decode(v, (4, 3))), values)


def test_noise_has_the_asked_strength() -> None:
    made = CPPN(sd=0.2, decorrelate=False)
    made.initialize((16, 16), generators(range(200)))
    assert float(made().detach().logit().std()) == pytest.approx(0.2, rel=0.3)


@pytest.mark.parametrize("moments", ["reset", "resample"])
def test_a_finished_picture_is_computed_four_times_as_large(moments: str) -> None:
    """By growth in the last step; the optimizer goes on with the moments that it has."""
    network = load_network("demo")
    recipe = FeatureVisualizer(CPPN(3, 8), size=24, moments=moments)  # type: ignore[arg-type]
    grow = ProgressiveUpscale(to=96, factor=4.0, every=11, blur=0.0)
    small = render(network, "logits:pizza", visualizer=recipe, steps=12, progress=False).images
    large = render(network, "logits:pizza", visualizer=recipe, steps=12, callbacks=[grow], progress=False).images
    assert large.shape == (1, 3, 96, 96)
    mean = torch.nn.functional.avg_pool2d(large, 4)
    assert float((mean - small).abs().mean()) < 0.1 * float((small - small.mean((2, 3), keepdim=True)).abs().mean())


def test_it_neither_starts_from_pictures_nor_is_blurred() -> None:
    made = CPPN()
    with pytest.raises(UsageError, match=r"cannot start from given pictures.*such as Fourier"):
        made.from_image(smooth_photos(8, 8))
    made.initialize((8, 8), generators([0]))
    with pytest.raises(UsageError, match="no pixels to blur"):
        made.blur(1.0)
    for callback in (PeriodicBlur(), ProgressiveUpscale(to=96)):
        with pytest.raises(UsageError, match=rf"CPPN pictures cannot be blurred.*{type(callback).__name__}"):
            render("demo", "logits:0", parameterization=CPPN(), callbacks=[callback], steps=1, progress=False)


@pytest.mark.parametrize("arguments", [{"layers": 0}, {"hidden": 0}, {"sd": -1.0}, {"sd": float("inf")}])
def test_what_makes_no_network_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="CPPN needs at least 1 layer"):
        CPPN(**arguments)  # type: ignore[arg-type]
