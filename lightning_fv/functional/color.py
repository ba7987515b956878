"""Decorrelated colour: the axes along which the colours of natural photos vary independently."""

import torch
from torch import Tensor

from lightning_fv.functional.device import constant

# Square root of the RGB covariance of natural photos (columns: brightness, blue-yellow, green-magenta; by
# decreasing variance), divided by the norm of the largest column. Olah et al. 2017, "Feature Visualization", section "Preconditioning and
# Parameterization". Measured by python scripts/build_spectrum.py --data PHOTOS, on 1000 ImageNet photos, one per class.
CORRELATION = (
    (0.5663, 0.2083, 0.0558),
    (0.5816, -0.0050, -0.1165),
    (0.5840, -0.1970, 0.0619),
)


def correlate(images: Tensor) -> Tensor:
    """Map decorrelated colour axes to RGB.

    Args:
        images: (..., 3, H, W), of any range.

    Returns:
        The same shape; unbounded RGB, to be squashed afterwards.
    """
    return _mix(images, constant(CORRELATION, images.device, images.dtype))


def decorrelate(images: Tensor) -> Tensor:
    """Map RGB to decorrelated colour axes: the inverse of `correlate`."""
    inverse = torch.tensor(CORRELATION, dtype=torch.float64, device="cpu").inverse()
    return _mix(images, inverse.to(images.device, images.dtype))


def _mix(images: Tensor, matrix: Tensor) -> Tensor:
    # A matrix product over the flattened plane is several times faster than einsum on a CPU.
    return torch.matmul(matrix, images.flatten(-2)).reshape(images.shape)
