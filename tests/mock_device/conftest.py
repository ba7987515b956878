"""The mock device as a fixture."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.mock_device.cuda import mocked_cuda
from tests.mock_device.hooks import Unavailable
from tests.mock_device.tensors import DeviceState


@pytest.fixture
def mock_cuda() -> Iterator[DeviceState]:
    """One CUDA device, on which everything computes; skips where this machine cannot have it."""
    with contextlib.ExitStack() as stack:
        try:
            state = stack.enter_context(mocked_cuda())
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield state
