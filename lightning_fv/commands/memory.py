"""What this process does with memory that it has freed."""

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's malloc.h; either one alone would leave the other at its small start value."""

KEPT = 2**29
"""Bytes of freed memory that are kept for the next step."""


def keep_freed_memory() -> bool:
    """Keep up to `KEPT` bytes that were freed, in place of returning them to the system after each layer.

    glibc returns what is free at the end of its heap, at most 64 MB of it kept, and the system clears every page again for the next layer's
    activations. A pass of photos through the demo network had half a million page faults by that, and took 1.2 times as long.

    Returns:
        Whether the C library knows this setting; others than glibc are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(bool(mallopt(name, KEPT)) for name in (MMAP_THRESHOLD, TRIM_THRESHOLD))
