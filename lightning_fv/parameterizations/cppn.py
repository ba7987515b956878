"""Pictures as small networks that map coordinates to colours."""

import functools
import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import unpack
from lightning_fv.parameterizations.base import Parameterization

HIDDEN_GAIN, OUTPUT_GAIN = 0.03, 0.07
"""Weights of the layers are values times these, so that the learning rate of the default recipe, 0.1, suits them; for the
weights themselves, 0.005 is common (Lucent's demo). Chosen by looking at pictures of the demo network."""


class CPPN(Parameterization):
    """One network per picture, which maps a pixel's coordinates to its colour (Stanley 2007, "Compositional pattern
    producing networks"; Mordvintsev et al. 2018, "Differentiable Image Parameterizations").

    The weights are what is learned, so a picture can be evaluated at any resolution: upscaling only changes the number of coordinates.
    A finished picture can be made four times as large by upscaling it in the last of 128 steps,
    ``--trainer.callbacks+=ProgressiveUpscale --trainer.callbacks.to=4.0 --trainer.callbacks.factor=4
    --trainer.callbacks.every=127 --trainer.callbacks.blur=0``, or by ``resize``. (Its scores are then those of the
    large picture, which the network sees at that size.) Pictures consist of smooth areas with sharp edges.

    The inputs are y and x, of which the longer side spans -sqrt(3) to sqrt(3), so that its variance is 1. With a = atan(u):

        u_1 = b_0 + A_0 (y, x),    u_(k+1) = b_k + A_k a(u_k) / 0.67 + C_k (a(u_k)^2 - 0.45) / 0.396

    The last u are the colours before the sigmoid. The activations are Lucid's unbiased composite ones, which have mean 0 and
    variance 1 for standard normal u.

    It cannot start from given pictures, and cannot be blurred.

    Args:
        layers: number of hidden layers, at least 1; 8 in Lucid.
        hidden: channels per hidden layer; 24 in Lucid. Time and memory are about proportional to both.
        sd: standard deviation of the initial picture, before the sigmoid.
        decorrelate: optimise along the colour axes of natural photos instead of RGB.
    """

    def __init__(self, layers: int = 8, hidden: int = 16, sd: float = 0.05, decorrelate: bool = True) -> None:
        super().__init__()
        if min(layers, hidden) < 1 or not 0 <= sd < math.inf:
            raise UsageError(
                "CPPN needs at least 1 layer, at least 1 hidden channel and a finite sd of at least 0, "
                f"got layers={layers}, hidden={hidden}, sd={sd}"
            )
        self.layers, self.hidden, self.sd, self.decorrelate = layers, hidden, sd, decorrelate

    @property
    def can_blur(self) -> bool:
        return False

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return (sum(math.prod(shape) for shape in self._shapes()),)

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        layers = []
        for number, (outputs, inputs) in enumerate(self._shapes()):
            sd = (self.sd / OUTPUT_GAIN if number == self.layers else 1 / HIDDEN_GAIN) / math.sqrt(inputs - 1)
            weights = sd * torch.randn(outputs, inputs - 1, generator=generator)
            layers.append(torch.cat([torch.zeros(outputs, 1), weights], 1).flatten())
        return torch.cat(layers)

    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        first, *others = unpack(values, self._shapes())
        places = _places(size, values.dtype, values.device).expand(len(values), -1, -1)
        u = torch.baddbmm(HIDDEN_GAIN * first[..., :1], HIDDEN_GAIN * first[..., 1:], places)
        for number, layer in enumerate(others, 1):
            gain = OUTPUT_GAIN if number == self.layers else HIDDEN_GAIN
            bias, linear, square = torch.split(gain * layer, [1, self.hidden, self.hidden], 2)
            # Scale and mean of the activations are folded into the weights, of which there are fewer than pixels.
            linear, square = linear / 0.67, square / 0.396
            bias = bias - 0.45 * square.sum(2, keepdim=True)
            a = u.atan()
            u = torch.baddbmm(torch.baddbmm(bias, linear, a), square, a * a)
        return u.view(len(values), self.channels, *size)

    def encode(self, logits: Tensor) -> Tensor:
        raise UsageError(
            "CPPN cannot start from given pictures, since its small networks cannot represent arbitrary ones; "
            "use another parameterization, such as Fourier"
        )

    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        return values

    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        raise UsageError("CPPN has no pixels to blur; leave out PeriodicBlur, and give ProgressiveUpscale blur=0")

    def _shapes(self) -> list[tuple[int, int]]:
        """(outputs, 1 + inputs) of each layer: a bias and the weights of each output."""
        inner = (self.hidden, 1 + 2 * self.hidden)
        return [(self.hidden, 1 + 2), *[inner] * (self.layers - 1), (self.channels, 1 + 2 * self.hidden)]


@functools.lru_cache(maxsize=8)
def _places(size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # they are saved for later backward passes
        return coordinates(size).to(device, dtype)


def coordinates(size: tuple[int, int]) -> Tensor:
    """y and x of the pixel centres, (2, H W) in float64: 0 in the middle, the longer side from -sqrt(3) to sqrt(3)."""
    step = 2 * math.sqrt(3) / max(size)
    y, x = (step * (torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2) for side in size)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")).flatten(1)
