"""Normalisation of pictures for a network, laid out as it processes them fastest."""

from typing import Any

import torch
from torch import Tensor


def normalize(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``scale * images + shift``, channels last; its gradient is laid out as usual, for the transforms that it passes next.

    Args:
        images: (B, C, H, W).
        scale, shift: (1, C, 1, 1), without gradients.
    """
    if torch._C._are_functorch_transforms_active():  # which take no function without rules of its own
        return torch.addcmul(shift, images.contiguous(memory_format=torch.channels_last), scale)
    normalized: Tensor = _Normalize.apply(images, scale, shift)
    return normalized


class _Normalize(torch.autograd.Function):
    """Each pass changes the layout as it writes, which otherwise costs a copy."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.scale = scale
        dtype = torch.promote_types(images.dtype, scale.dtype)
        result = torch.empty_like(images, dtype=dtype, memory_format=torch.channels_last)
        return torch.addcmul(shift, images, scale, out=result)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # for a gradient of the gradient, which `out` does not have
            return grads[0] * ctx.scale, None, None
        result = torch.empty_like(grads[0], memory_format=torch.contiguous_format)
        return torch.mul(grads[0], ctx.scale, out=result), None, None
