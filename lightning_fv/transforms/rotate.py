"""A random rotation."""

import math

import torch
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.transforms.affine import Outside, about_centre, check_outside, chosen
from lightning_fv.transforms.keyed import KeyedTransform


class RandomRotate(KeyedTransform):
    """Rotate the pictures about their centre by a random angle, drawn independently for every picture; their size stays.

    Args:
        largest: largest angle in degrees, either way, uniform in between.
        choices: instead, the angle in degrees is one of these, all equally likely (one given twice is twice as likely);
            positive is clockwise.
        padding_mode: what is seen in the corners: the picture's reflection, its border, mid grey or black.
    """

    draws = 1

    def __init__(
        self, largest: float = 10.0, choices: list[float] | None = None, padding_mode: Outside = "reflection"
    ) -> None:
        super().__init__()
        if not 0 <= largest < math.inf:
            raise UsageError(f"RandomRotate needs a finite largest of at least 0, got largest={largest}")
        if choices is not None and not (choices and all(map(math.isfinite, choices))):
            raise UsageError(f"RandomRotate needs choices that are finite numbers, got {list(choices)}")
        check_outside("RandomRotate", padding_mode)
        self.largest, self.padding_mode = largest, padding_mode
        self.choices = None if choices is None else [float(angle) for angle in choices]

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        if self.choices:
            degrees = chosen(tuple(self.choices), uniforms[:, 0])
        else:
            degrees = self.largest * (2 * uniforms[:, 0] - 1)
        angle = degrees * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        linear = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
        return about_centre(images, linear, (images.shape[-2], images.shape[-1]), self.padding_mode)
