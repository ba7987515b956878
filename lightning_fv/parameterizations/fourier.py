"""Pictures as Fourier spectra with decorrelated colour."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import (
    blur_transfer,
    correlate,
    decorrelate,
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
    """

    _weights: Tensor

    def __init__(self, decay: float = 1.0, sd: float = 0.01, decorrelate: bool = True) -> None:
        super().__init__()
        if not math.isfinite(decay) or not 0 <= sd < math.inf:
            raise UsageError(f"Fourier needs a finite decay and a finite sd of at least 0, got decay={decay}, sd={sd}")
        self.decay, self.sd, self.decorrelate = decay, sd, decorrelate
        # Derived from size and decay. Of one kind whatever the defaults: job ids see it.
        self.register_buffer("_weights", torch.empty(0, dtype=torch.float32, device="cpu"), persistent=False)

    def forward(self) -> Tensor:
        # The FFT does not support bfloat16, and a product after it would be downcast: stay in float32 throughout.
        with torch.autocast(self.values.device.type, enabled=False):
            images = spectrum_to_image(self.values, self._weights, self.size[1])
            return (correlate(images) if self.decorrelate and self.channels == 3 else images).sigmoid()

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        return self.sd * torch.randn(self.channels, size[0], size[1] // 2 + 1, 2, generator=generator)

    def encode(self, images: Tensor) -> Tensor:
        logits = decorrelate(images.logit()) if self.decorrelate and self.channels == 3 else images.logit()
        spectrum = torch.view_as_real(torch.fft.rfft2(logits, norm="forward"))
        weights = self._weights_for((images.shape[-2], images.shape[-1]), images.device)
        return torch.where(weights > 0, spectrum / weights, 0.0)

    def resize(self, size: tuple[int, int]) -> None:
        # The scale is isotropic in pixels, so it changes when growth changes the aspect ratio, even by rounding.
        spectrum = resize_spectrum(self.values.detach() * self._weights, self.size[1], size)
        spectrum = keep_in_place(spectrum, size[1], self.size)
        weights = self._weights_for(size, self.values.device)
        self._take(torch.where(weights > 0, spectrum / weights, 0.0), size)

    def resample(self, values: Tensor, size: tuple[int, int], fill: float = 0.0) -> Tensor:
        return resize_spectrum(values, self.size[1], size, fill)

    @torch.no_grad()
    def blur(self, sigma: float) -> None:
        self.values.mul_(blur_transfer(*self.size, sigma).to(self.values.device)[..., None])

    def _weights_for(self, size: tuple[int, int], device: torch.device) -> Tensor:
        weights = GAIN * spectrum_weights(*size, self.decay)
        return weights[..., None].expand(-1, -1, 2).contiguous().to(device)

    def _take(self, values: Tensor, size: tuple[int, int]) -> None:
        super()._take(values, size)
        self._weights = self._weights_for(self.size, self.values.device)
