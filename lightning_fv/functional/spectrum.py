"""Real Fourier spectra of pictures, in cycles per picture, so that coefficients keep their meaning when the picture grows."""

import math

import torch
from torch import Tensor


def frequencies(height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Radial frequency of each coefficient of a real 2-D spectrum.

    Args:
        height, width: size of the picture in pixels.

    Returns:
        (height, width // 2 + 1), in cycles per longer side, so that it is isotropic in pixels; 0 at [0, 0].
    """
    side = max(height, width)
    fy = torch.fft.fftfreq(height, 1 / side, dtype=dtype)
    fx = torch.fft.rfftfreq(width, 1 / side, dtype=dtype)
    return torch.sqrt(fy[:, None] ** 2 + fx[None] ** 2)


def spectrum_weights(
    height: int, width: int, decay: float = 1.0, dtype: torch.dtype = torch.float32, lowest: float = 1.0
) -> Tensor:
    """The 1/f scale of a natural picture's spectrum (Olah et al. 2017), with the Nyquist bins of even sides masked.

    A coefficient at the Nyquist frequency of a small picture has no counterpart with the same meaning in a larger one;
    masked, growth by `resize_spectrum` leaves the picture as it was.

    Returns:
        (height, width // 2 + 1): ``max(f, lowest) ** -decay``, f and ``lowest`` in cycles per longer side.
    """
    weights: Tensor = frequencies(height, width, dtype).clamp_min(lowest).pow(-decay)
    if height % 2 == 0 and height > 1:
        weights[height // 2] = 0
    if width % 2 == 0 and width > 1:
        weights[:, width // 2] = 0
    return weights


def spectrum_to_image(coefficients: Tensor, weights: Tensor, width: int) -> Tensor:
    """Weighted real spectrum -> picture.

    Args:
        coefficients: (..., H, width // 2 + 1, 2), real and imaginary parts.
        weights: (H, width // 2 + 1), or repeated for both parts, (H, width // 2 + 1, 2), which is faster.
        width: width of the picture (a half spectrum does not tell odd from even).

    Returns:
        (..., H, width). The transform is unnormalised (``norm="forward"``): the amplitude of a wave does not depend on
        the size of the picture.
    """
    spectrum = torch.view_as_complex(coefficients * (weights[..., None] if weights.ndim == 2 else weights))
    image: Tensor = torch.fft.irfft2(spectrum, s=(coefficients.shape[-3], width), norm="forward")
    return image


def resize_spectrum(coefficients: Tensor, width: int, size: tuple[int, int], fill: float = 0.0) -> Tensor:
    """Resize spectrum coefficients for another picture size: pad or truncate high frequencies (sinc interpolation).

    Args:
        coefficients: (..., H, width // 2 + 1, 2).
        width: width of the current picture in pixels.
        size: (height, width) of the new one.
        fill: value of coefficients that had no counterpart.

    Returns:
        (..., size[0], size[1] // 2 + 1, 2).
    """
    old_height, (new_height, new_width) = coefficients.shape[-3], size
    resized = coefficients.new_full((*coefficients.shape[:-3], new_height, new_width // 2 + 1, 2), fill)
    # Non-negative frequencies come first, negative ones last; the Nyquist row of an even side is dropped.
    positive = (min(old_height, new_height) + 1) // 2
    negative = (min(old_height, new_height) - 1) // 2
    columns = (min(width, new_width) + 1) // 2
    resized[..., :positive, :columns, :] = coefficients[..., :positive, :columns, :]
    if negative:
        resized[..., -negative:, :columns, :] = coefficients[..., -negative:, :columns, :]
    return resized


def keep_in_place(coefficients: Tensor, width: int, old: tuple[int, int]) -> Tensor:
    """Turn the phases of a resized spectrum so that the picture stays where it was.

    Pixel n of N lies at (n + 1/2) / N of the side, and a wave's phase counts from pixel 0, which moves when N changes: without
    exp(i pi k (1 / N_new - 1 / N_old)) along each axis, a picture that grows by s moves by (s - 1) / 2 px to the top left.

    Args:
        coefficients: (..., H, width // 2 + 1, 2), from `resize_spectrum`.
        width: the new width in pixels.
        old: (height, width) before.

    Returns:
        (..., H, width // 2 + 1, 2).
    """
    height = coefficients.shape[-3]
    ky = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64)[:, None] * (1 / height - 1 / old[0])
    kx = torch.fft.rfftfreq(width, 1 / width, dtype=torch.float64)[None] * (1 / width - 1 / old[1])
    phase = torch.polar(torch.ones_like(ky + kx), math.pi * (ky + kx)).to(coefficients.device)
    turned = torch.view_as_complex(coefficients.contiguous()) * phase.to(
        torch.complex64 if coefficients.dtype == torch.float32 else torch.complex128
    )
    return torch.view_as_real(turned)


def blur_transfer(height: int, width: int, sigma: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Transfer function of a Gaussian blur, exp(-2 (pi sigma f)^2) with f in cycles per pixel.

    Args:
        sigma: standard deviation in pixels.

    Returns:
        (height, width // 2 + 1), in (0, 1].
    """
    f = frequencies(height, width, dtype) / max(height, width)
    return torch.exp(-2 * (math.pi * sigma * f) ** 2)
