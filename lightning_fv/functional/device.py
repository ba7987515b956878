"""Constants on the device where they are used."""

import functools

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
