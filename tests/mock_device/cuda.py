"""The mock device as torch and Lightning see it."""

import contextlib
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.mock_device.graph import MockGraph
from tests.mock_device.hooks import patched_hooks
from tests.mock_device.tensors import DeviceState, MockMode

NAME = "NVIDIA mock"


@contextlib.contextmanager
def mocked_cuda(capacity: int = 80 * 2**30) -> Iterator[DeviceState]:
    """A block in which this process has one CUDA device. Everything is as before afterwards, but see `patched_hooks`.

    Args:
        capacity: bytes of its memory.

    Raises:
        Unavailable: it cannot be done here.
    """
    state = DeviceState(capacity)
    swap = torch.__future__.get_swap_module_params_on_conversion()
    with contextlib.ExitStack() as stack:
        stack.enter_context(patched_hooks())
        for owner, name, value in _replacements(state):
            stack.enter_context(mock.patch.object(owner, name, value, create=not hasattr(owner, name)))
        # `Module.to` must keep the Parameters, as on a real device, though their type changes; and torch.tensor must copy to the
        # device by an operation that is seen.
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swap)
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)
        stack.enter_context(MockMode(state))
        yield state


_engine_run_backward = torch.autograd._engine_run_backward


def _backward_in_this_thread(*args: Any, **kwargs: Any) -> Any:
    """Torch starts its threads for devices with the process's first backward pass, when there may have been no device."""
    with torch.autograd.set_multithreading_enabled(False):
        return _engine_run_backward(*args, **kwargs)


def _replacements(state: DeviceState) -> Iterator[tuple[Any, str, Any]]:
    """Functions that would ask the driver: (owner, name, replacement)."""

    def synchronize(*_: Any) -> None:
        state.ledger.wait("synchronize")

    def reset_peak(*_: Any) -> None:
        state.peak = state.allocated

    def set_rng_state(new: Tensor, *_: Any) -> None:
        state.generator.set_state(new)

    def manual_seed(seed: int) -> None:
        state.generator.manual_seed(seed)

    def limit_memory(fraction: float, *_: Any) -> None:
        state.capacity = int(capacity * fraction)

    def recording(graph: MockGraph, **options: Any) -> contextlib.AbstractContextManager[None]:
        return graph.recording(state)

    def set_sync_debug_mode(mode: str) -> None:
        state.ledger.debug_mode = mode

    class Event:
        """A point in time. Operations are done when they return, so that nothing is to be waited for."""

        def __init__(self, enable_timing: bool = False) -> None:
            self.seconds = 0.0

        def record(self) -> None:
            self.seconds = time.perf_counter()

        def synchronize(self) -> None:
            synchronize()

        def elapsed_time(self, end: "Event") -> float:
            return (end.seconds - self.seconds) * 1e3

    capacity = state.capacity
    properties = SimpleNamespace(
        name=NAME, major=9, minor=0, total_memory=state.capacity, multi_processor_count=132, gcnArchName=""
    )
    replaced = {
        "_lazy_init": lambda: None,
        "_is_in_bad_fork": lambda: False,
        "_exchange_device": lambda _: 0,
        "_maybe_exchange_device": lambda _: 0,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: state.graph is not None,
        "CUDAGraph": MockGraph,
        "graph": recording,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "synchronize": synchronize,
        "empty_cache": lambda: None,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_name": lambda *_: NAME,
        "get_device_properties": lambda *_: properties,
        "mem_get_info": lambda *_: (state.capacity - state.allocated, state.capacity),
        "memory_allocated": lambda *_: state.allocated,
        "max_memory_allocated": lambda *_: state.peak,
        "max_memory_reserved": lambda *_: state.peak,
        "set_per_process_memory_fraction": limit_memory,
        "set_sync_debug_mode": set_sync_debug_mode,
        "Event": Event,
        "memory_stats": lambda *_: {
            "allocated_bytes.all.current": state.allocated,
            "allocated_bytes.all.peak": state.peak,
        },
        "reset_peak_memory_stats": reset_peak,
        "get_rng_state": lambda *_: state.generator.get_state(),
        "get_rng_state_all": lambda: [state.generator.get_state()],
        "set_rng_state": set_rng_state,
        "set_rng_state_all": lambda states: set_rng_state(states[0]),
        "manual_seed": manual_seed,
        "manual_seed_all": manual_seed,
    }
    for name, value in replaced.items():
        yield torch.cuda, name, value
    yield torch.autograd, "_engine_run_backward", _backward_in_this_thread
    yield torch._C, "_cuda_clearCublasWorkspaces", lambda: None
