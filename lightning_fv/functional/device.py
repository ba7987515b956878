"""Constants on the device where they are used."""

import functools
from typing import Any

import torch
from torch import Tensor


@functools.lru_cache(maxsize=64)
def on_device(constant: Tensor, device: torch.device) -> Tensor:
    """A tensor that nothing changes, on a device. The copy is made once: each one makes the host wait for the device.

    Args:
        constant: of any shape.
        device: where it is needed; ``constant`` itself if it is there already.
    """
    with torch.inference_mode(False):  # a tensor made in inference mode could not be saved for a later backward pass
        return constant.to(device)


@functools.lru_cache(maxsize=256)
def constant(numbers: tuple[Any, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers as a tensor on a device, made once, since `torch.tensor` copies them there each time. Nothing may change it.

    Args:
        numbers: also nested tuples, for several dimensions.
        device: where they are needed.
        dtype: of the tensor; to be given, since (1, 2) and (1.0, 2.0) are the same key.
    """
    with torch.inference_mode(False):  # as in `on_device`
        return torch.tensor(numbers, dtype=dtype, device=device)
