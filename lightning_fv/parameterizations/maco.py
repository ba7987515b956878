"""Pictures with the magnitude spectrum of natural photos: only the phases are learned."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import constant, frequencies, keep_in_place, resize_images, resize_spectrum
from lightning_fv.parameterizations.base import Parameterization

MAGNITUDES = Path(__file__).parents[1] / "assets" / "photo_magnitudes.safetensors"
DECAY = 1.2
"""Exponent of the power law that extends the magnitudes beyond the measured frequencies."""

_TRANSPARENT, _OPAQUE = 0.2, 0.8
"""Quantiles of a picture's importance below which it is fully transparent, and above which it is fully opaque."""

_MEAN = 0.999
"""Largest cosine of the phase of a given picture's mean colour; at 1 it has no gradient."""


class MACO(Parameterization):
    """The phases of a Fourier series whose magnitudes are those of natural photos (Fel et al. 2023, "Unlocking Feature Visualization
    for Deeper Networks with MAgnitude Constrained Optimization").

    A picture is the inverse Fourier transform of ``r exp(i phi)``. r is the mean magnitude of each frequency over 1000 ImageNet photos,
    along the decorrelated colour axes of photos and before the sigmoid; phi is learned. So a picture cannot degenerate into a high-frequency
    pattern, and has the spectrum of photos everywhere, also where that is irrelevant to the unit. The mean colour is real-valued and
    can be anything from -r to r: r cos(phi).

    The paper fixes the magnitudes and then standardizes the picture and rescales it to a given range; here r was measured before
    the sigmoid, so that contrast and brightness are those of photos. For sizes above 224 px, r is extrapolated by 1 / f**1.2.

    Upscaling keeps the existing frequencies in place; new ones start with random phases, the same for every picture. Pictures cannot be
    blurred, since a blur changes the magnitudes.

    Args:
        opacity: make unimportant areas of the files transparent. Importance is the absolute gradient of the loss with respect to the
            picture, summed over the steps (the paper's transparency map). Opacity increases with it from 0 at the picture's 20 % quantile
            to 1 at its 80 % quantile. The network always sees opaque pictures.

    Attributes:
        importance: (B, H, W), the sum so far, if ``opacity``; else empty.
    """

    importance: Tensor
    decorrelate = True
    sd = math.pi / math.sqrt(3)  # of uniform phases

    def __init__(self, opacity: bool = False) -> None:
        super().__init__()
        self.opacity = bool(opacity)
        # dtype and device do not depend on torch's defaults, since job ids cover this buffer.
        self.register_buffer("importance", torch.empty(0, dtype=torch.float32, device="cpu"))
        self._known: tuple[object, Tensor] = None, torch.empty(0)

    @property
    def can_blur(self) -> bool:
        return False

    def forward(self) -> Tensor:
        images = super().forward()
        if self.opacity and images.requires_grad:
            images.register_hook(self._add_importance)  # type: ignore[no-untyped-call]
        return images

    def shown(self, images: Tensor) -> Tensor:
        if not self.opacity:
            return images
        ranks = constant((_TRANSPARENT, _OPAQUE), images.device, images.dtype)
        smooth = F.avg_pool2d(self.importance[:, None], 5, 1, 2, count_include_pad=False).flatten(1)
        low, high = smooth.quantile(ranks, dim=1)
        opacity = (smooth - low[:, None]) / (high - low).clamp_min(1e-30)[:, None]
        return torch.cat([images, opacity.clamp(0, 1).view(len(images), 1, *images.shape[-2:])], 1)

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        return (2 * torch.rand(self.shape(size), generator=generator) - 1) * math.pi

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return (self.channels, size[0], size[1] // 2 + 1)

    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        key = (size, values.shape[1], values.device)
        if self._known[0] != key:
            self._known = key, magnitudes(size, values.shape[1]).to(values.device)
        spectrum = self._known[1] * _hermitian(torch.polar(torch.ones_like(values), values), size[0])
        image: Tensor = torch.fft.irfft2(spectrum, s=size, norm="forward")
        return image

    def encode(self, logits: Tensor) -> Tensor:
        waves = torch.fft.rfft2(logits, norm="forward")
        phases: Tensor = waves.angle()
        # The mean is r cos(phi); where the photo's is beyond, as near as a gradient still passes.
        reach = magnitudes((logits.shape[-2], logits.shape[-1]), logits.shape[1])[:, 0, 0].to(logits.device)
        phases[..., 0, 0] = (waves[..., 0, 0].real / reach).clamp(-_MEAN, _MEAN).acos()
        return phases

    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        return resize_spectrum(values[..., None].expand(*values.shape, 2), old[1], new, fill)[..., 0]

    def resized(self, values: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        waves = torch.view_as_real(torch.polar(torch.ones_like(values), values))
        kept = keep_in_place(resize_spectrum(waves, old[1], new), new[1], old)
        phases = torch.view_as_complex(kept).angle()
        random = self.noise(new, torch.Generator().manual_seed(0)).to(values.device)
        return torch.where(kept.abs().amax(-1) > 0, phases, random)

    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        raise UsageError("MACO has the magnitudes of photos, which a blur would change; leave out blurs")

    def initialize(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> None:
        super().initialize(size, generators)
        self._reset_importance()

    def restart(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> None:
        super().restart(rows, generators)
        if self.opacity:
            self.importance[list(rows)] = 0  # what mattered to the picture before says nothing about the new one

    def from_image(self, images: Tensor) -> None:
        super().from_image(images)
        self._reset_importance()

    def resize(self, size: tuple[int, int]) -> None:
        super().resize(size)
        if self.opacity:
            self.importance = resize_images(self.importance[:, None], size)[:, 0]

    def _reset_importance(self) -> None:
        if self.opacity:
            self.importance = torch.zeros(len(self.values), *self.size, device=self.values.device)

    def _add_importance(self, gradient: Tensor) -> None:
        added = gradient.detach().abs().mean(1)
        self.importance += torch.where(added.isfinite(), added, 0.0)


def magnitudes(size: tuple[int, int], channels: int = 3) -> Tensor:
    """Mean magnitude of each frequency in photos, along decorrelated colour axes, before the sigmoid.

    Args:
        size: (height, width) of the picture in pixels.
        channels: 3; with another number, all channels have the magnitudes of brightness.

    Returns:
        (channels, height, width // 2 + 1), for the transform with ``norm="forward"``; Nyquist bins of even sides are 0, so that upscaling
        preserves a picture.
    """
    table = _table()
    known, side = table.shape[-1], max(size)
    fy = torch.fft.fftfreq(size[0], 1 / side).abs()
    fx = torch.fft.rfftfreq(size[1], 1 / side)
    # Bilinear in the logarithm, at frequencies in cycles per longer side; beyond the table, its edge continued by a power law.
    reach = torch.clamp((known - 1) / torch.maximum(fy[:, None], fx[None]).clamp_min(1e-9), max=1)
    y, x = fy[:, None] * reach, fx[None] * reach
    grid = torch.stack([x, y], -1) * (2 / (known - 1)) - 1
    found = F.grid_sample(table.log()[None], grid[None], align_corners=True, padding_mode="border")[0].exp()
    found = found * reach**DECAY
    # A shorter side has fewer frequencies, so each has a larger share of the energy.
    found[:, frequencies(*size) > 0] *= side / math.sqrt(size[0] * size[1])
    for axis, length in ((1, size[0]), (2, size[1])):
        if length % 2 == 0:
            found.narrow(axis, length // 2, 1).zero_()
    return found if channels == 3 else found[:1].expand(channels, -1, -1)


@functools.cache
def _table() -> Tensor:
    """(3, 112, 112): rows and columns are 0, 1, 2, ... cycles per side. Made by ``scripts/build_spectrum.py``."""
    return load_file(MAGNITUDES)["imagenet"].float()


def _hermitian(waves: Tensor, height: int) -> Tensor:
    """The spectrum with a first column (0 cycles along x) that is Hermitian, as for a real picture: (-k) is the conjugate of (k).

    irfft2 would otherwise average the two, which changes the magnitude.
    """
    positive = waves[:, :, 1 : (height + 1) // 2, :1]
    mean = torch.complex(waves[:, :, :1, :1].real, torch.zeros_like(waves[:, :, :1, :1].real))
    middle = waves[:, :, height // 2 : height // 2 + 1, :1] if height % 2 == 0 else waves[:, :, :0, :1]
    column = torch.cat([mean, positive, middle, positive.flip(2).conj()], 2)
    return torch.cat([column, waves[..., 1:]], 3)
