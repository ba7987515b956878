"""Builds and applies the patch of torch's CUDA hooks, `hooks.cpp`."""

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("hooks.cpp")
CACHE = Path(__file__).parents[2] / "build" / "mock_device"
"""Compiled libraries, one for each torch and version of the source; git ignores it."""

_PROBLEMS = {
    1: "torch's hasPrimaryContext is not a virtual function as it was",
    2: "the table of torch's CUDA hooks does not point into torch",
    3: "the table of torch's CUDA hooks cannot be written",
    4: "torch does not call the patched function",
}


class Unavailable(Exception):  # noqa: N818 - a reason to skip
    """This machine or this torch cannot have the mock device; says why."""


@contextlib.contextmanager
def patched_hooks() -> Iterator[None]:
    """Let backward passes run on ``cuda:0`` without a driver.

    One thing stays: torch's device guard for CUDA, where there is no device, becomes one that does nothing.

    Raises:
        Unavailable: it cannot be done here.
    """
    if torch.version.cuda is None:
        raise Unavailable("this torch is built without CUDA, whose operations the mock device goes through")
    if torch.cuda.is_available():
        raise Unavailable("this machine has a real CUDA device")
    library = ctypes.CDLL(str(_built()))
    if problem := library.patch():
        raise Unavailable(_PROBLEMS.get(problem, f"problem {problem}"))
    torch._C._ensureCUDADeviceGuardSet()
    try:
        yield
    finally:
        library.restore()


@functools.cache
def _built() -> Path:
    """The compiled library, built with torch's own headers where it is not cached.

    Raises:
        Unavailable: there is no compiler, or it fails.
    """
    if sys.platform != "linux":
        raise Unavailable("the mock device patches torch on Linux only")
    code = SOURCE.read_bytes()
    key = hashlib.blake2b(code + f"{torch.__version__} {sys.platform} {os.uname().machine}".encode(), digest_size=8)
    target = CACHE / f"hooks-{key.hexdigest()}.so"
    if target.is_file():
        return target
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise Unavailable("no C++ compiler: g++ is not installed, and CXX names none")
    root = Path(torch.__file__).parent
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:  # beside the target: several processes may build at once
        built = Path(folder, "hooks.so")
        command = [
            compiler, "-std=c++20", "-O1", "-shared", "-fPIC", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
            f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}", str(SOURCE), "-o", str(built),
            f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        if done.returncode:
            raise Unavailable(f"{compiler} fails: {done.stderr.strip().splitlines()[0]}")
        built.replace(target)
    return target
