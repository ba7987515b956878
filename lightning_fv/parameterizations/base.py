"""Base class of parameterizations."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_fv.errors import UsageError


class Parameterization(nn.Module, ABC):
    """A batch of B pictures held as one learnable tensor, ``values``.

    Constructed without pictures (so that it can appear in a configuration); `initialize` creates them. Each picture depends
    on its own row of ``values`` only. ``forward()`` gives (B, C, H, W) float32 in [0, 1].

    Attributes:
        channels: C, to be set before `initialize`; 3 for RGB. Axes of colour are decorrelated only then.
    """

    values: nn.Parameter
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        self._size = (0, 0)
        self._holds_images = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures in pixels; (0, 0) before `initialize`."""
        return self._size

    @property
    def holds_images(self) -> bool:
        """Whether the pictures started from given ones instead of noise."""
        return self._holds_images

    def initialize(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> None:
        """Start from noise: one picture per generator, each from its own CPU generator.

        Args:
            size: (height, width) in pixels.
            generators: one per picture.
        """
        self._take(torch.stack([self.noise(size, generator) for generator in generators]), size)
        self._holds_images = False

    def from_image(self, images: Tensor) -> None:
        """Start from given pictures, (B, C, H, W) in [0, 1]; values of exactly 0 and 1 are moved inwards by 1/512.

        For a parameterization whose pictures are there: with a visualizer, after `FeatureVisualizer.bind`, which makes them.

        Raises:
            UsageError: these are not such pictures.
        """
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise UsageError(f"from_image needs pictures (B, {self.channels}, H, W), got {tuple(images.shape)}")
        if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):  # also false for NaN
            raise UsageError(f"from_image needs finite floating point numbers in [0, 1], got {_range(images)}")
        self._take(self.encode(images.float().clamp(1 / 512, 1 - 1 / 512)), (images.shape[-2], images.shape[-1]))
        self._holds_images = True

    def resize(self, size: tuple[int, int]) -> None:
        """Resize the pictures. Replaces the Parameter: an optimizer must be given the new one."""
        self._take(self.resample(self.values.detach(), size), size)

    @abstractmethod
    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Values of one picture of noise, without batch axis, on the CPU."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Values that represent ``images``, (B, C, H, W) in (0, 1)."""

    @abstractmethod
    def resample(self, values: Tensor, size: tuple[int, int], fill: float = 0.0) -> Tensor:
        """Values, or an optimizer's moments of them, at another size; ``fill`` where there was nothing before."""

    @abstractmethod
    def blur(self, sigma: float) -> None:
        """Gaussian blur in place, sigma in pixels."""

    def _take(self, values: Tensor, size: tuple[int, int]) -> None:
        device = self.values.device if self._size != (0, 0) else values.device
        self.values = nn.Parameter(values.to(device).contiguous())
        self._size = (int(size[0]), int(size[1]))


def _range(images: Tensor) -> str:
    return f"{images.dtype} from {images.min().item():g} to {images.max().item():g}"
