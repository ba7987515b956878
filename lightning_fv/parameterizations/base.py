"""Base class of parameterizations."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_fv.errors import UsageError
from lightning_fv.functional import correlate, decorrelate


class Parameterization(nn.Module, ABC):
    """A batch of B pictures held as one learnable tensor, ``values``, with a row for each picture.

    Constructed without pictures (so that it can appear in a configuration); `initialize` creates them. Each picture depends
    on its own row of ``values`` only, or on those of its `group`. ``forward()`` gives (B, C, H, W) float32 in [0, 1]; if pictures have an opacity
    (`has_opacity`), (B, C + 1, H, W) with the opacity last, which `over_grey` makes (B, C, H, W).

    What is learned for a picture may be several tensors, such as the levels of a pyramid or the layers of a small network:
    `lightning_fv.functional.pack` makes one row of them and `unpack` gives them back. So whatever deals with rows (the guard
    against NaN, restarts, growth, checkpoints) needs to know nothing about them, and a step has one optimizer kernel.

    Subclasses say what values mean, in functions of values and sizes alone, so that one can be built on another: `shape`,
    `decode`, `encode`, `resample`, `blurred`, `resized` if a picture's values are not resized as their moments are, and `noise`
    if that is not normal with one standard deviation.

    Attributes:
        channels: C, to be set before `initialize`; 3 for RGB. Axes of colour are decorrelated only then.
        decorrelate: whether values stand for the colour axes of natural photos instead of RGB.
        sd: standard deviation of the noise.
    """

    values: nn.Parameter
    sd: float
    channels = 3
    decorrelate = False

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

    @property
    def can_blur(self) -> bool:
        """Whether the pictures can be blurred."""
        return True

    @property
    def group(self) -> int:
        """How many pictures, one after another, depend on each other: 1 unless they are declared to share something."""
        return 1

    @property
    def has_opacity(self) -> bool:
        """Whether the last channel of the pictures is their opacity."""
        return False

    def over_grey(self, images: Tensor) -> Tensor:
        """Pictures of `forward` as they are shown, (B, C, H, W): where they are transparent, over mid-grey."""
        return images

    def shown(self, images: Tensor) -> Tensor:
        """Pictures of `forward` as their files show them, (B, C or C + 1, H, W); with an opacity if that is there but not seen
        by the network."""
        return images

    def forward(self) -> Tensor:
        # Pictures stay in float32: the FFT does not support bfloat16, and small steps would be lost in it.
        with torch.autocast(self.values.device.type, enabled=False):
            return self.squash(self.decode(self.values, self.size))

    def initialize(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> None:
        """Start from noise: one picture per generator, each from its own CPU generator.

        Args:
            size: (height, width) in pixels.
            generators: one per picture.
        """
        self._take(torch.stack([self.noise(size, generator) for generator in generators]), size)
        self._holds_images = False

    @torch.no_grad()
    def restart(self, rows: Sequence[int], generators: Sequence[torch.Generator]) -> None:
        """Start some of the pictures from noise again, in place, each from its own CPU generator.

        Args:
            rows: which pictures.
            generators: one per row.
        """
        for row, generator in zip(rows, generators, strict=True):
            self.values[row] = self.noise(self.size, generator).to(self.values.device)

    def from_image(self, images: Tensor) -> None:
        """Start from given pictures, (B, C, H, W) in [0, 1]; values of exactly 0 and 1 are moved inwards by 1/512.

        For a parameterization whose pictures are there: with a visualizer, after `FeatureVisualizer.bind`, which makes them.

        Raises:
            UsageError: these are not such pictures, or this parameterization cannot start from any.
        """
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise UsageError(f"from_image needs pictures (B, {self.channels}, H, W), got {tuple(images.shape)}")
        if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):  # also false for NaN
            raise UsageError(f"from_image needs finite floating point numbers in [0, 1], got {_range(images)}")
        logits = images.float().clamp(1 / 512, 1 - 1 / 512).logit()
        logits = decorrelate(logits) if self.decorrelate and self.channels == 3 else logits
        self._take(self.encode(logits), (images.shape[-2], images.shape[-1]))
        self._holds_images = True

    def resize(self, size: tuple[int, int]) -> None:
        """Resize the pictures. Replaces the Parameter, and an optimizer must be given the new one, unless values stay the same."""
        values = self.values.detach()
        resized = self.resized(values, self.size, size)
        if resized is values:
            self._size = (int(size[0]), int(size[1]))
        else:
            self._take(resized, size)

    @torch.no_grad()
    def blur(self, sigma: float) -> None:
        """Gaussian blur in place, sigma in pixels."""
        self.values.copy_(self.blurred(self.values, self.size, sigma))

    def squash(self, logits: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1] of what `decode` gives."""
        return (correlate(logits) if self.decorrelate and self.channels == 3 else logits).sigmoid()

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Values of one picture of noise, without batch axis, on the CPU."""
        return self.sd * torch.randn(self.shape(size), generator=generator)

    @abstractmethod
    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """The shape of one picture's values, without batch axis."""

    @abstractmethod
    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        """The pictures of ``values`` before `squash`, (B, C, H, W): unbounded, of any number of pictures."""

    @abstractmethod
    def encode(self, logits: Tensor) -> Tensor:
        """The inverse of `decode`: values of (B, C, H, W)."""

    @abstractmethod
    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        """Values, or an optimizer's moments of them, at another size; ``fill`` where there was nothing before.

        ``values`` itself if it does not depend on the size.
        """

    def resized(self, values: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        """Values of the same pictures at another size."""
        return self.resample(values, old, new)

    @abstractmethod
    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        """Values of the pictures after a Gaussian blur, sigma in pixels."""

    def _take(self, values: Tensor, size: tuple[int, int]) -> None:
        device = self.values.device if self._size != (0, 0) else values.device
        self.values = nn.Parameter(values.to(device).contiguous())
        self._size = (int(size[0]), int(size[1]))


def _range(images: Tensor) -> str:
    return f"{images.dtype} from {images.min().item():g} to {images.max().item():g}"
