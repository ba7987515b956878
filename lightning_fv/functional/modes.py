"""torch's modes and defaults, which the caller of a function may have changed."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Compute under torch's own modes and defaults, whatever the caller has set; all are as before afterwards.

    These are: gradients on, no inference mode, no autocast, float32 as the default type, the CPU as the default device.
    All but the default type belong to the calling thread; that one is the whole process's.

    >>> with torch.no_grad(), torch.device("meta"), torch_defaults():
    ...     made = torch.ones(1, requires_grad=True) * 2
    >>> made.device.type, made.requires_grad
    ('cpu', True)
    """
    dtype = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if not _makes_on_cpu():  # even the CPU as a given default costs time in every call of torch
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        yield


def _makes_on_cpu() -> bool:
    try:
        return torch.empty(0).device.type == "cpu"  # torch.get_default_device of 2.6 overlooks `with torch.device(...)`
    except (AssertionError, RuntimeError):  # a GPU that this machine does not have
        return False
