import numpy as np
import torch

from lightning_fv.functional import correlate, decorrelate
from lightning_fv.functional.color import CORRELATION
from tests.helpers import noise


def test_correlate_is_the_matrix_at_each_pixel(device: torch.device) -> None:
    images = noise(2, 3, 5, 4)
    expected = np.einsum("rc,bcyx->bryx", np.array(CORRELATION), images.numpy())
    np.testing.assert_allclose(correlate(images.to(device)).cpu().numpy(), expected, atol=1e-6)


def test_a_picture_without_batch_axis_is_the_same() -> None:
    images = noise(2, 3, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(correlate(images[1]), correlate(images)[1])


def test_each_is_the_inverse_of_the_other() -> None:
    images = noise(2, 3, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(decorrelate(correlate(images)), images)
    torch.testing.assert_close(correlate(decorrelate(images)), images)
    single = images.float()
    torch.testing.assert_close(decorrelate(correlate(single)), single, atol=1e-5, rtol=0)


def test_columns_are_axes_of_a_covariance() -> None:
    """Orthogonal, by falling length, the first of length 1: what the constant's comment says it is."""
    matrix = np.array(CORRELATION)
    products = matrix.T @ matrix
    lengths = np.sqrt(np.diag(products))
    np.testing.assert_allclose(products - np.diag(lengths**2), 0, atol=2e-4)  # four digits are given
    assert lengths[0] > lengths[1] > lengths[2] > 0
    np.testing.assert_allclose(lengths[0], 1, atol=2e-4)


def test_first_axis_is_brightness() -> None:
    grey = torch.zeros(3, 1, 1)
    grey[0] = 1
    red, green, blue = correlate(grey).flatten().tolist()
    assert min(red, green, blue) > 0.5


def test_dtype_is_kept() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert correlate(torch.zeros(3, 2, 2, dtype=dtype)).dtype == dtype


def test_gradients(device: torch.device) -> None:
    images = noise(1, 3, 3, 2, dtype=torch.float64).to(device).requires_grad_()
    assert torch.autograd.gradcheck(correlate, images)
    assert torch.autograd.gradcheck(decorrelate, images)
