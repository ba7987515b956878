"""What LaplacianPyramid promises beyond the contract: the levels of Burt & Adelson, each with its weight."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lightning_fv.errors import UsageError
from lightning_fv.functional import unpack
from lightning_fv.parameterizations import LaplacianPyramid
from lightning_fv.parameterizations.laplacian_pyramid import GAIN
from tests.helpers import generators, noise, smooth_photos


def bilinear(plane: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Enlargement by Pillow, which knows no torch."""
    shown = Image.fromarray(plane.astype(np.float32), "F").resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(shown, np.float64)


def test_the_picture_is_the_weighted_sum_of_its_levels() -> None:
    """Level by level as the docstring has it, sides halved and rounded up."""
    made = LaplacianPyramid(4, decay=1.7, sd=1.0, decorrelate=False)
    made.initialize((13, 10), generators([0, 1]))
    shapes = [(3, 13, 10), (3, 7, 5), (3, 4, 3), (3, 2, 2)]
    levels = [level.detach().double().numpy() for level in unpack(made.values, shapes)]
    expected = np.zeros((2, 3, 2, 2))
    for number in (3, 2, 1, 0):
        size = shapes[number][1:]
        larger = np.stack([bilinear(plane, size) for plane in expected.reshape(-1, *expected.shape[2:])])
        expected = larger.reshape(2, 3, *size) + GAIN * 2 ** (number * 0.7) * levels[number]
    np.testing.assert_allclose(made().detach().double().logit().numpy(), expected, atol=1e-5)


def test_one_level_is_pixels() -> None:
    made = LaplacianPyramid(1, sd=1.0, decorrelate=False)
    made.initialize((5, 4), generators([0]))
    torch.testing.assert_close(made().logit().flatten(1), GAIN * made.values)


def test_smooth_pictures_are_in_the_coarse_levels_and_noise_in_the_finest() -> None:
    made = LaplacianPyramid(5, decay=1.0)
    made.from_image(smooth_photos(64, 64))
    levels = unpack(made.values.detach(), [(3, 64 >> k, 64 >> k) for k in range(5)])
    mean_squares = [float(level.square().mean()) for level in levels]
    assert mean_squares[0] < 0.2 * min(mean_squares[1:])
    rough = LaplacianPyramid(5, decay=1.0)
    rough.from_image(0.5 + 0.1 * noise(2, 3, 64, 64).clamp(-4, 4))
    mean_squares = [
        float(level.square().mean())
        for level in unpack(rough.values.detach(), [(3, 64 >> k, 64 >> k) for k in range(5)])
    ]
    assert mean_squares[0] > 2 * max(mean_squares[1:])


def test_a_number_acts_around_its_place() -> None:
    """Of a level that is four times smaller: in the pixels around it, less with the distance, nowhere else."""
    made = LaplacianPyramid(3, decorrelate=False)
    values = torch.zeros(1, 3 * (32 * 32 + 16 * 16 + 8 * 8))
    unpack(values, [(3, 32, 32), (3, 16, 16), (3, 8, 8)])[2][0, 1, 3, 4] = 1.0
    image = made.decode(values, (32, 32))
    assert image[0, [0, 2]].eq(0).all()
    rows, columns = image[0, 1].nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 18, 13, 22)
    torch.testing.assert_close(image[0, 1].flip(0).roll(-4, 0), image[0, 1])  # symmetric about row 13.5
    assert float(image.sum()) == pytest.approx(16 * GAIN * 2 ** (2 * 0.5))  # enlargement keeps the mean


def test_encode_is_the_inverse_of_decode_in_double() -> None:
    made = LaplacianPyramid(4)
    logits = noise(2, 3, 13, 10, dtype=torch.float64)
    torch.testing.assert_close(made.decode(made.encode(logits), (13, 10)), logits)


def test_gradient_is_that_of_finite_differences() -> None:
    made = LaplacianPyramid(3)
    values = noise(2, 3 * (5 * 4 + 3 * 2 + 2 * 1), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: made.squash(made.decode(v, (5, 4))), values)


@pytest.mark.parametrize("arguments", [{"levels": 0}, {"decay": float("inf")}, {"sd": -1.0}, {"sd": float("nan")}])
def test_what_makes_no_pyramid_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="LaplacianPyramid needs at least 1 level"):
        LaplacianPyramid(**arguments)  # type: ignore[arg-type]
