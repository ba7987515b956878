"""CUDA graphs of the mock device: operations that are recorded, and done again on the same memory with the same numbers."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

if TYPE_CHECKING:
    from tests.mock_device.tensors import DeviceState


class MockGraph:
    """What `torch.cuda.CUDAGraph` is on a real device.

    As there, recording changes nothing: memory that operations wrote to is restored afterwards. As there, whatever a step takes from Python
    is recorded as a constant, and waiting for the device while recording is an error.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Any, str, Sequence[Any], dict[str, Any], list[Tensor]]] = []
        self._state: DeviceState | None = None
        self.replays = 0

    @contextlib.contextmanager
    def recording(self, state: "DeviceState") -> Iterator[None]:
        """Record the operations of a block."""
        assert state.graph is None
        self._state, state.graph = state, self
        mode, state.ledger.debug_mode = state.ledger.debug_mode, "error"
        self._made: set[int] = set()
        self._written: dict[int, tuple[Tensor, Tensor]] = {}
        try:
            yield
        finally:
            state.graph, state.ledger.debug_mode = None, mode
            for tensor, before in self._written.values():
                tensor.copy_(before)

    def before(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Note what an operation is about to write to. Tensors are those of the CPU that hold the numbers."""
        for argument, value in _arguments(func, args, kwargs):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in tree_flatten(value)[0]:
                    place = tensor.untyped_storage().data_ptr() if isinstance(tensor, Tensor) else 0
                    if isinstance(tensor, Tensor) and place not in self._made | self._written.keys():
                        whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                        self._written[place] = whole, whole.clone()

    def after(self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: Sequence[Tensor]) -> None:
        """Note an operation with its results, which are kept, as a graph keeps its memory."""
        given = {
            value.untyped_storage().data_ptr() for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)
        }
        self._made |= {tensor.untyped_storage().data_ptr() for tensor in out} - given
        self._calls.append((func, name, args, kwargs, list(out)))

    @torch.no_grad()
    def replay(self) -> None:
        """Do all again."""
        assert self._state is not None
        self.replays += 1
        self._state.ledger.operation("graph")
        for func, name, args, kwargs, out in self._calls:
            again = [v for v in tree_flatten(self._state.compute(func, name, args, kwargs))[0] if isinstance(v, Tensor)]
            for tensor, value in zip(out, again, strict=True):
                value = value.resolve_conj().resolve_neg()
                if value.data_ptr() != tensor.data_ptr():
                    tensor.copy_(value)


def _arguments(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    for argument, value in zip(func._schema.arguments, args, strict=False):
        yield argument, value
    for argument in func._schema.arguments:
        if argument.name in kwargs:
            yield argument, kwargs[argument.name]
