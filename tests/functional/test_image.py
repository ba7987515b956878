import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lightning_fv.functional import finite_uint8, gaussian_blur, resize_images, to_uint8
from tests.helpers import noise


@pytest.mark.parametrize("size", [(74, 58), (41, 33), (19, 14), (5, 3), (50, 14), (20, 40), (1, 1)])
def test_resize_is_pillows_bilinear(photo: Tensor, size: tuple[int, int], device: torch.device) -> None:
    """Pillow smooths when it shrinks and interpolates when it grows, in its own code."""
    resized = resize_images(photo.to(device), size).cpu()
    assert resized.shape == (2, 3, *size)
    for got, plane in zip(resized.flatten(0, 1), photo.flatten(0, 1), strict=True):
        expected = Image.fromarray(plane.numpy(), "F").resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(got.numpy(), np.asarray(expected), atol=2e-5)


def test_resize_to_the_same_size_is_a_copy(photo: Tensor) -> None:
    same = resize_images(photo, (37, 29))
    assert torch.equal(same, photo)
    assert same.data_ptr() != photo.data_ptr()


@pytest.mark.parametrize("size", [(60, 31), (9, 50), (8, 8)])
def test_resize_never_leaves_the_range(size: tuple[int, int]) -> None:
    """An optimizer's second moments must not become negative."""
    impulses = (noise(1, 3, 37, 29) > 1.5).float()
    resized = resize_images(impulses, size)
    assert resized.min() >= 0
    assert resized.max() <= 1 + 1e-6


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.3, 4.0, 30.0])
def test_blur_is_scipys(photo: Tensor, sigma: float, device: torch.device) -> None:
    blurred = gaussian_blur(photo.to(device), sigma).cpu()
    reach = max(1, round(3 * sigma))
    radius = (min(reach, 36), min(reach, 28))  # a border can be reflected once
    for got, plane in zip(blurred.flatten(0, 1), photo.flatten(0, 1), strict=True):
        # SciPy calls "mirror" what torch calls "reflect": the border pixel is not repeated.
        expected = gaussian_filter(plane.numpy(), sigma, mode="mirror", radius=radius)
        np.testing.assert_allclose(got.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2)])
def test_blur_of_pictures_smaller_than_the_kernel(size: tuple[int, int]) -> None:
    images = torch.full((1, 3, *size), 0.3)
    torch.testing.assert_close(gaussian_blur(images, 5.0), images)


def test_bytes_are_rounded(device: torch.device) -> None:
    levels = torch.arange(256)
    for shift in (-0.49, 0.0, 0.49):
        values = ((levels + shift) / 255).expand(3, 1, -1).to(device)
        assert torch.equal(to_uint8(values), levels.to(torch.uint8).expand(3, 1, -1))


def test_bytes_are_clamped_detached_and_on_the_cpu(device: torch.device) -> None:
    values = torch.tensor([-3.0, 0.0, 1.0, 1.7], device=device, requires_grad=True)
    made = to_uint8(values.expand(3, 1, -1))
    assert made[0, 0].tolist() == [0, 0, 255, 255]
    assert made.dtype == torch.uint8
    assert made.device.type == "cpu"
    assert not made.requires_grad


@pytest.mark.parametrize(
    ("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 1, 1]), (3, [0, 1, 2]), (4, [0, 1, 2]), (7, [0, 1, 2])]
)
def test_any_number_of_channels_is_shown_as_rgb(channels: int, shown: list[int]) -> None:
    levels = torch.arange(channels)[:, None, None].expand(2, channels, 3, 5) * 30
    assert to_uint8(levels / 255)[:, :, 0, 0].tolist() == [[30 * channel for channel in shown]] * 2


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_bytes_of_what_is_no_number_are_refused(photo: Tensor, wrong: float) -> None:
    photo[1, 2, 3, 4] = wrong
    with pytest.raises(ValueError, match="NaN or infinite"):
        to_uint8(photo)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bytes_are_none_where_they_would_be_refused(photo: Tensor, channels: int, device: torch.device) -> None:
    pictures = torch.cat([photo, photo[:, :1]], 1)[:, :channels].to(device)
    found = finite_uint8(pictures)
    assert found is not None
    assert torch.equal(found, to_uint8(pictures))
    pictures[1, 0, 3, 4] = torch.inf
    assert finite_uint8(pictures) is None


def test_gradients(device: torch.device) -> None:
    images = noise(1, 2, 4, 3, dtype=torch.float64).to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resize_images(x, (7, 5)), images)
    assert torch.autograd.gradcheck(lambda x: resize_images(x, (3, 2)), images)
    assert torch.autograd.gradcheck(lambda x: resize_images(x, (4, 3)), images)
    assert torch.autograd.gradcheck(lambda x: gaussian_blur(x, 0.7), images)
