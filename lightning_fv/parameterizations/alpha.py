"""Pictures that are transparent in places."""

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import composite
from lightning_fv.parameterizations.base import Parameterization
from lightning_fv.parameterizations.fourier import Fourier
from lightning_fv.parameterizations.maco import MACO

_START = 2.0
"""Opacity of noise before the sigmoid: 0.88. Half transparent pictures, at 0, may vanish before they show anything."""

_OPAQUE = 4.0
"""Opacity of given pictures before the sigmoid: 0.98, where a gradient still passes."""


class Alpha(Parameterization):
    """Pictures of another parameterization with an opacity as a further channel (Mordvintsev et al. 2018, "Differentiable
    Image Parameterizations", section "Transparency").

    The network sees a picture over a random background that changes with each step, so that the picture is opaque where its
    colours matter, and shows the unit without what surrounds it. What does not matter stays as opaque as the noise, 0.88; the
    penalty `lightning_fv.objectives.Opacity` makes it vanish. Scores, previews and the other penalties are those of the picture over
    mid-grey. The files are PNGs with transparency.

    Args:
        base: represents colours and opacity. Default: Fourier with a decay of 1.5.
    """

    def __init__(self, base: Parameterization | None = None) -> None:
        super().__init__()
        self.base = base if base is not None else Fourier(decay=1.5)
        if self.base.has_opacity:
            raise UsageError(
                f"Alpha takes opaque pictures, and those of {type(self.base).__name__} have an opacity already"
            )
        if isinstance(self.base, MACO):
            raise UsageError(
                "Alpha cannot be laid over MACO, whose magnitudes are those of opaque photos; MACO(opacity=True) shows what mattered"
            )
        self.decorrelate = self.base.decorrelate

    @property
    def can_blur(self) -> bool:
        return self.base.can_blur

    @property
    def group(self) -> int:
        return self.base.group

    @property
    def has_opacity(self) -> bool:
        return True

    def over_grey(self, images: Tensor) -> Tensor:
        return composite(images)

    def squash(self, logits: Tensor) -> Tensor:
        return torch.cat([super().squash(logits[:, :-1]), (logits[:, -1:] + _START).sigmoid()], 1)

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        return self._with_opacity().noise(size, generator)

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return self._with_opacity().shape(size)

    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        return self._with_opacity().decode(values, size)

    def encode(self, logits: Tensor) -> Tensor:
        opacity = torch.full_like(logits[:, :1], _OPAQUE - _START)
        return self._with_opacity().encode(torch.cat([logits, opacity], 1))

    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        return self._with_opacity().resample(values, old, new, fill)

    def resized(self, values: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        return self._with_opacity().resized(values, old, new)

    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        return self._with_opacity().blurred(values, size, sigma)

    def _with_opacity(self) -> Parameterization:
        self.base.channels = self.channels + 1
        return self.base
