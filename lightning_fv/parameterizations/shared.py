"""Pictures that have their coarse shapes in common."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import gaussian_blur, pack, resize_images, unpack
from lightning_fv.parameterizations.base import Parameterization
from lightning_fv.parameterizations.fourier import Fourier
from lightning_fv.parameterizations.maco import MACO


class Shared(Parameterization):
    """Pictures of another parameterization, to which groups of them add a common picture of low resolution (Mordvintsev et al.
    2018, "Differentiable Image Parameterizations", section "Aligned Feature Visualization Interpolation"; Lucid's
    ``lowres_tensor``).

    What suits all pictures of a group is learned in common, so that it is at the same place in all of them, such as in the frames
    of an interpolation between two objectives or in several pictures of one unit. The first ``group`` targets of a run are a
    group, the next ``group`` another, and so on: jobs must hold whole groups. Unlike all others, a picture depends on the others
    of its group.

    With v for the values of the base, and e for bilinear enlargement by 2, as often as it takes:

        logits = base(v) + e(...e(mean over the group of w))

    Averaged over three interpolations of six pictures of the demo network, coarse shapes (8 x 8 means) of neighbours correlate by
    0.75 instead of 0.39, and the logits are higher, not lower.

    Each picture has a copy w of the common part, all of them with the gradient of the mean, so that they move together and each
    can be guarded and saved as part of its picture. A gradient that is not finite counts for its own picture alone.

    Args:
        group: number of pictures that share, at least 1.
        base: represents what is each picture's own. Default: Fourier with a decay of 1.5.
        factor: how much smaller the common picture is, a power of 2.
    """

    def __init__(self, group: int, base: Parameterization | None = None, factor: int = 4) -> None:
        super().__init__()
        if group < 1 or factor < 1 or factor & (factor - 1):
            raise UsageError(
                f"Shared needs a group of at least 1 and a power of 2 as factor, got group={group}, factor={factor}"
            )
        self._group, self.factor = group, factor
        self.base = base if base is not None else Fourier(decay=1.5)
        if self.base.has_opacity or self.base.group > 1:
            kind = type(self.base).__name__
            raise UsageError(f"Shared is not for pictures of {kind}; put it inside, as in Alpha(Shared(4))")
        if isinstance(self.base, MACO):
            raise UsageError(
                "Shared would add to the magnitudes of MACO, which are those of photos; choose another base"
            )
        self.decorrelate = self.base.decorrelate

    @property
    def group(self) -> int:
        return self._group

    @property
    def can_blur(self) -> bool:
        return self.base.can_blur

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return (sum(math.prod(shape) for shape in self._shapes(size)),)

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        _, low = self._shapes(size)
        return torch.cat([self.base.noise(size, generator).flatten(), torch.zeros(math.prod(low))])

    def decode(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        own, low = unpack(values, self._shapes(size))
        common: Tensor = GroupMean.apply(low, self._group)
        halvings = self.factor.bit_length() - 1
        while halvings > 0:
            halvings -= 1
            common = F.interpolate(common, size=_halved(size, halvings), mode="bilinear", align_corners=False)
        return self.base.decode(own, size) + common

    def encode(self, logits: Tensor) -> Tensor:
        _, low = self._shapes((logits.shape[-2], logits.shape[-1]))
        return pack([self.base.encode(logits), logits.new_zeros(len(logits), *low)])

    def resample(self, values: Tensor, old: tuple[int, int], new: tuple[int, int], fill: float = 0.0) -> Tensor:
        own, low = unpack(values, self._shapes(old))
        return pack([self.base.resample(own, old, new, fill), resize_images(low, self._shapes(new)[1][1:])])

    def resized(self, values: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        own, low = unpack(values, self._shapes(old))
        return pack([self.base.resized(own, old, new), resize_images(low, self._shapes(new)[1][1:])])

    def blurred(self, values: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
        own, low = unpack(values, self._shapes(size))
        return pack([self.base.blurred(own, size, sigma), gaussian_blur(low, sigma / self.factor)])

    def _shapes(self, size: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, int, int]]:
        """Shapes of a picture's own values and of its copy of the common ones."""
        self.base.channels = self.channels
        return self.base.shape(size), (self.channels, *_halved(size, self.factor.bit_length() - 1))


class GroupMean(torch.autograd.Function):
    """Each row's mean over its group, (B, ...): as many rows one after another, or all of them where that does not divide B.

    The gradient of a row that is not finite is left out, so that one picture's NaN does not reach the others.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: int) -> Tensor:
        ctx.group = group if len(rows) % group == 0 else len(rows)
        return _mean(rows, ctx.group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        finite = torch.linalg.vector_norm(gradient.flatten(1), dim=1) < torch.inf
        return _mean(gradient.where(finite.view(-1, 1, 1, 1), 0.0), ctx.group), None


def _mean(rows: Tensor, group: int) -> Tensor:
    groups = rows.unflatten(0, (-1, group))  # type: ignore[no-untyped-call]
    mean: Tensor = groups.mean(1, keepdim=True).expand_as(groups).reshape(rows.shape)
    return mean


def _halved(size: tuple[int, int], times: int) -> tuple[int, int]:
    return -(-size[0] >> times), -(-size[1] >> times)
