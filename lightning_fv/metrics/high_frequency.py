"""How much of a picture is noise."""

import functools

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_fv.functional import frequencies


class HighFrequencyEnergy(Metric):
    """Share of a picture's energy (without its mean) above a frequency, averaged over all pictures seen, in [0, 1].

    The picture is weighted by a Hann window first: a spectrum is that of the picture repeated without end, and the step from
    one border to the opposite one has high frequencies that the picture does not have.

    Above half the Nyquist frequency, photos have the share given by `photo_high_frequency`, white noise has
    1 - pi / 16 = 0.80, and a ramp has none; a picture of a single colour counts as 0.

    Args:
        cutoff: in units of the Nyquist frequency of the longer side.

    Shape: update takes (B, 3, H, W) in [0, 1]; compute gives a scalar.
    """

    full_state_update = False
    higher_is_better = False
    energy: Tensor
    total: Tensor

    def __init__(self, cutoff: float = 0.5) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.add_state("energy", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        self.energy += high_frequency_share(images, self.cutoff).sum()
        self.total += len(images)

    def compute(self) -> Tensor:
        return self.energy / self.total


def high_frequency_share(images: Tensor, cutoff: float = 0.5) -> Tensor:
    """`HighFrequencyEnergy` of each picture by itself.

    Args:
        images: (B, C, H, W) in [0, 1].
        cutoff: in units of the Nyquist frequency of the longer side.

    Returns:
        (B,) in [0, 1]; NaN for a picture with a NaN.
    """
    height, width = images.shape[-2:]
    power = windowed_power(images)
    high = _above(height, width, cutoff, images.device)
    return (power * high).sum((1, 2, 3)) / power.sum((1, 2, 3)).clamp_min(1e-10 * (height * width) ** 2)


def windowed_power(images: Tensor) -> Tensor:
    """Power spectrum of pictures weighted by a Hann window, each coefficient as often as in a full spectrum.

    Args:
        images: (B, C, H, W).

    Returns:
        (B, C, H, W // 2 + 1), 0 at frequency [0, 0]; the window's own energy is 1 per pixel on average.
    """
    height, width = images.shape[-2:]
    rows, columns = (_window(side, images.device) for side in (height, width))
    window = rows[:, None] * columns
    images = images.float()
    centred = images - (images * window).sum((2, 3), keepdim=True) / window.sum()
    power: Tensor = torch.fft.rfft2(centred * (window / window.square().mean().sqrt())).abs().square()
    if width > 1:  # in a half spectrum each inner column stands for two
        last = -1 if width % 2 == 0 else None
        power[..., 1:last] *= 2
    power[..., 0, 0] = 0
    return power


@functools.lru_cache(maxsize=16)
def _window(side: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept for later calls, which may need a gradient
        window: Tensor = torch.hann_window(side + 2, periodic=False, dtype=torch.float32, device="cpu")[1:-1]
        return window.to(device)  # without the zeros at its ends


@functools.lru_cache(maxsize=8)
def _above(height: int, width: int, cutoff: float, device: torch.device) -> Tensor:
    """Which coefficients are above the cutoff, (height, width // 2 + 1)."""
    with torch.inference_mode(False):
        return frequencies(height, width).to(device) > cutoff * max(height, width) / 2
