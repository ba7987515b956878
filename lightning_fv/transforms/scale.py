"""A random scale."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms.affine import Outside, about_centre, check_outside, chosen
from lightning_fv.transforms.keyed import KeyedTransform


class RandomScale(KeyedTransform):
    """Scale the pictures about their centre by a random factor, drawn independently for every picture.

    Elsewhere a batch has one factor and gets another size by it. Here every picture has its own, so that they are seen through a
    window of one size: that of the pictures, or if all factors are below 1, of the picture scaled by the largest one. What is
    enlarged beyond the window is cut off; around what is smaller is what ``padding_mode`` says.

    Args:
        smallest, largest: the factor is uniform in between.
        choices: instead, the factor is one of these, all equally likely (one given twice is twice as likely).
        per_axis: height and width have factors of their own.
        padding_mode: what is seen around the picture: its reflection, its border, mid grey or black.
    """

    def __init__(
        self,
        smallest: float = 0.9,
        largest: float = 1.1,
        choices: list[float] | None = None,
        per_axis: bool = False,
        padding_mode: Outside = "reflection",
    ) -> None:
        super().__init__()
        if choices is None and not 0 < smallest <= largest < math.inf:
            raise UsageError(
                f"RandomScale needs finite 0 < smallest <= largest, got smallest={smallest}, largest={largest}"
            )
        if choices is not None and not (choices and all(0 < factor < math.inf for factor in choices)):
            raise UsageError(f"RandomScale needs choices that are finite numbers above 0, got {list(choices)}")
        check_outside("RandomScale", padding_mode)
        self.smallest, self.largest, self.per_axis, self.padding_mode = smallest, largest, per_axis, padding_mode
        self.choices = None if choices is None else [float(factor) for factor in choices]
        self.draws = 2 if per_axis else 1

    def window(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the output for pictures of ``size``."""
        top = min(1.0, max(self.choices) if self.choices else self.largest)
        return max(1, round(top * size[0])), max(1, round(top * size[1]))

    def factors(self, uniforms: Tensor) -> Tensor:
        """Factors (B, 2) of width and height for uniforms (B, draws) in [0, 1)."""
        if self.choices:
            factors = chosen(tuple(self.choices), uniforms)
        else:
            factors = self.smallest + (self.largest - self.smallest) * uniforms
        return factors.expand(-1, 2)

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        window = self.window((images.shape[-2], images.shape[-1]))
        return about_centre(images, torch.diag_embed(self.factors(uniforms)), window, self.padding_mode)
