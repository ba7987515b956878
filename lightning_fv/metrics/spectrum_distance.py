"""How far the spectrum of a picture is from that of photos."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import PhotoSet, frequencies, photo_spectrum
from lightning_fv.metrics.high_frequency import windowed_power

SIDES: dict[PhotoSet, int] = {"imagenet": 224, "tiny_imagenet": 64}
FLOOR = 1e-8
"""The least share of a ring. Rounding to 8 bits leaves about 1e-6 in each of a photo's; photos have at least 5e-4."""


def radial_spectrum(images: Tensor) -> Tensor:
    """Share of each picture's energy in rings of frequencies, after a Hann window; the rings are those of `photo_spectrum`.

    Args:
        images: (B, C, H, W).

    Returns:
        (B, rings), ring k of frequencies f with k < f <= k + 1 in cycles per longer side; each row sums to 1, or to 0 for a picture
        of a single colour.
    """
    height, width = images.shape[-2:]
    power = windowed_power(images).sum(1).flatten(1)
    ring = (frequencies(height, width).flatten().ceil().long() - 1).clamp_min(0).to(images.device)
    rings = power.new_zeros(len(images), int(ring.max()) + 1).index_add_(1, ring, power)
    return rings / rings.sum(1, keepdim=True).clamp_min(1e-10 * (height * width) ** 2)


def log_spectral_distance(rings: Tensor, photos: PhotoSet) -> Tensor:
    """Distance of radial spectra from the mean radial spectrum of photos, in decibels.

    The log-spectral distance (Gray and Markel 1976): the root of the mean, over rings up to the Nyquist frequency, of
    (10 log10(p / q))^2, p the picture's share of energy in the ring and q that of photos. A ring has as many
    coefficients in both, so that the ratio is also that of their power densities. Shares below 1e-8 count as 1e-8, so that a
    picture of a single colour is 54 (``imagenet``) or 63 dB away, and not at infinity.

    Args:
        rings: (B, rings) from `radial_spectrum`.
        photos: whose spectrum.

    Returns:
        (B,), at least 0; 0 for the mean spectrum of the photos; NaN for a NaN in the rings.
    """
    nyquist = SIDES[photos] // 2
    expected = torch.tensor(photo_spectrum(photos)[:nyquist], device=rings.device, dtype=rings.dtype)
    decibels = 10 * (rings[:, :nyquist].clamp_min(FLOOR).log10() - expected.log10())
    return decibels.square().mean(1).sqrt()


class SpectrumDistance(Metric):
    """`log_spectral_distance` of pictures from photos of the same size, in decibels, averaged over all pictures seen.

    It is 0 for the photos' mean spectrum only: a single photo is 3.9 dB away on average (``imagenet``, of 400 photos; standard
    deviation 2.8) or 2.7 dB (``tiny_imagenet``, of 1,500; 1.5), white noise 10.4 or 8.2 dB.

    Args:
        photos: ``imagenet``, at 224 px, or ``tiny_imagenet``, at 64 px: how photos were scaled down decides their spectrum.

    Shape: update takes (B, 3, 224, 224) or (B, 3, 64, 64) in [0, 1]; compute gives a scalar. A NaN pixel makes it NaN.

    Raises:
        ValueError: no such photos, or in update, pictures of another size.
    """

    full_state_update = False
    higher_is_better = False
    distance: Tensor
    total: Tensor

    def __init__(self, photos: PhotoSet) -> None:
        super().__init__()
        photo_spectrum(photos)  # raises for unknown photos
        self.photos = photos
        self.add_state("distance", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        side = SIDES[self.photos]
        if images.shape[-2:] != (side, side):
            height, width = images.shape[-2:]
            raise ValueError(
                f"pictures of {height} x {width} px, but the spectrum of {self.photos} is that of {side} x {side} px"
            )
        self.distance += log_spectral_distance(radial_spectrum(images), self.photos).sum()
        self.total += len(images)

    def compute(self) -> Tensor:
        return self.distance / self.total
