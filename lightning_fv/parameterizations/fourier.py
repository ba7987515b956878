"""Pictures as Fourier spectra with decorrelated colour."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import (
    blur_transfer,
    keep_in_place,
    resize_spectrum,
    spectrum_to_image,
    spectrum_weights,
)
from lightning_fv.parameterizations.base import Parameterization

# At decay 1 and for square pictures this is Lucid's scale (lucid/optvis/param/spatial.py divides by 4 likewise).
GAIN = 0.25


class Fourier(Parameterization):
    """Coefficients of a real Fourier series scaled by 1/f, in decorrelated colour, squashed by a sigmoid.

    Steepest ascent in this space spreads over all frequencies as natural pictures do, instead of into the highest
    (Olah et al. 2017, "Preconditioning and Parameterization"). Coefficients count cycles per picture, so growing adds
    frequencies and leaves the picture as it was; the Nyquist bins of even sides are masked for that.

    Args:
        decay: exponent of the scale 1 / f**decay. Photos measure 1.2; 1 is customary.
        sd: standard deviation of the coefficients to start from.
        decorrelate: optimise along the colour axes of natural photos instead of RGB.
        lowest: frequency in cycles per longer side, below which the scale is that of this one (in torch-dreams about 5.7).
    """

    _weights: Tensor

    def __init__(self, decay: float = 1.0, sd: float = 0.01, decorrelate: bool = True, lowest: float = 1.0) -> None:
        super().__init__()
        if not math.isfinite(decay) or not 0 <= sd < math.inf:
            raise UsageError(f"Fourier needs a finite decay and a finite sd of at least 0, got decay={decay}, sd={sd}")
        if not 0 < lowest < math.inf:
            raise UsageError(f"Fourier needs a finite lowest frequency above 0, got lowest={lowest}")
        self.decay, self.sd, self.decorrelate, self.lowest = decay, sd, decorrelate, lowest
        # Those of the last size, kept for the next step. Of one kind whatever the defaults: job ids see it.
        self.register_buffer("_weights", torch.empty(0, dtype=torch.float32, device="cpu"), persistent=False)
        self._weighted_size = (0, 0)

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return (self.channels, size[0], size[1] // 2 + 1, 2)

    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        if self._weighted_size != size or self._weights.device != values.device:
            self._weights, self._weighted_size = self._weights_for(size, values.device), size
        return spectrum_to_image(values, self._weights, size[1])

    def encode(self, logits: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.rfft2(logits, norm="forward"))
        weights = self._weights_for((logits.shape[-2], logits.shape[-1]), logits.device)
        return torch.where(weights > 0, spectrum / weights, 0.0)

    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        return resize_spectrum(values, old[1], new, fill)

    def resized(self, values: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        # The scale is isotropic in pixels, so it changes when growth changes the aspect ratio, even by rounding.
        spectrum = resize_spectrum(values * self._weights_for(old, values.device), old[1], new)
        spectrum = keep_in_place(spectrum, new[1], old)
        weights = self._weights_for(new, values.device)
        return torch.where(weights > 0, spectrum / weights, 0.0)

    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        return values * blur_transfer(*size, sigma).to(values.device)[..., None]

    def _weights_for(self, size: tuple[int, int], device: torch.device) -> Tensor:
        weights = GAIN * spectrum_weights(*size, self.decay, lowest=self.lowest)
        return weights[..., None].expand(-1, -1, 2).contiguous().to(device)
