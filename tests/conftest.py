"""Fixtures that every room may use."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests import processes
from tests.helpers import TinyNet, smooth_photos

_cache = tempfile.mkdtemp(prefix="lightning_fv_cache_")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device that the tests use, such as cpu or cuda:0")


def pytest_configure(config: pytest.Config) -> None:
    # For tensors this small a second thread costs more than it brings; on a busy machine, four times the suite's time.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = (
        "1"  # processes that tests start: sums, and so bits, depend on the number of threads
    )
    os.environ["LIGHTNING_FV_CACHE"] = _cache  # not the user's


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    """Those of a module's fixtures were started before, and are theirs to end."""
    before = processes.started()
    yield
    processes.end_started(before)


def pytest_sessionfinish() -> None:
    processes.end_started()
    shutil.rmtree(_cache, ignore_errors=True)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    wanted = torch.device(request.config.getoption("--device"))
    if wanted.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("asked for a CUDA device, but there is none")
    return wanted


@pytest.fixture
def tiny_network(device: torch.device) -> TinyNet:
    return TinyNet().to(device).eval().requires_grad_(False)


@pytest.fixture
def photo() -> Tensor:
    """Two smooth pictures with colour, (2, 3, 37, 29) in [0, 1], on the CPU."""
    return smooth_photos(37, 29)
