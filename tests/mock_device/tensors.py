"""Tensors that say ``cuda:0`` and compute on the CPU, and what an operation on them does."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from tests.mock_device.graph import MockGraph
from tests.mock_device.ledger import Ledger

CUDA = torch.device("cuda:0")
CPU = torch.device("cpu")

_READ_BY_HOST = {
    "_linalg_check_errors", "_local_scalar_dense", "_unique2", "bincount", "equal", "histc", "is_nonzero", "masked_select", "nonzero",
    "repeat_interleave", "unique_consecutive", "unique_dim",
}  # fmt: skip
"""Operations whose result, or its size, the host needs."""

_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}

_VIEWS = {"_conj", "_neg_view", "_reshape_alias", "_unsafe_view", "detach", "lift_fresh", "lift", "alias"}
"""Operations without a kernel, besides those whose schema says that they return a view."""

_SCALAR_FROM_CPU = {
    "fill",
    "fill_",
    "masked_fill",
    "masked_fill_",
    "where",
    "index_put",
    "index_put_",
    "_index_put_impl_",
    "copy_",
    "_to_copy",
}
"""Operations that take a 0-dimensional tensor on the CPU, besides elementwise ones."""


class MockTensor(Tensor):
    """A tensor on the mock device; ``inner`` holds its numbers, on the CPU."""

    inner: Tensor
    device_state: "DeviceState"
    allocation: "Allocation"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor, state: "DeviceState") -> "MockTensor":
        tensor: MockTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
            requires_grad=False,
        )
        tensor.inner, tensor.device_state = inner, state
        tensor.allocation = state.allocate(inner)
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        flat = tree_flatten((args, kwargs or {}))[0]
        return next(value.device_state for value in flat if isinstance(value, MockTensor)).run(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"MockTensor({tuple(self.shape)}, {self.dtype}, device='cuda:0')"

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:  # also from another device, as when a module is moved
        torch.utils.swap_tensors(self, nn.Parameter(new.detach(), self.requires_grad))

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as a tensor on the CPU, which is where checkpoints are loaded to."""
        return self.detach().cpu().__reduce_ex__(protocol)


class MockMode(TorchDispatchMode):
    """Makes tensors on the mock device where an operation names it but has no tensor of it, as in ``torch.zeros(3, device="cuda")``."""

    def __init__(self, state: "DeviceState") -> None:
        super().__init__()
        self._state = state

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._state.run(func, args, kwargs or {})


class Allocation:
    """A tensor's share in memory of the device, for as long as it lives."""

    def __init__(self, state: "DeviceState", place: int, size: int) -> None:
        self._state, self._place, self._size = state, place, size

    def __del__(self) -> None:
        self._state.release(self._place, self._size)


class DeviceState:
    """The memory, the random numbers and the operations of the mock device.

    Attributes:
        ledger: what is counted.
        capacity: bytes; an operation whose result does not fit raises ``torch.OutOfMemoryError``.
        allocated, peak: bytes of tensors that are alive, and the most since the last reset.
        generator: of its random numbers: they are not those of the CPU's generator.
    """

    def __init__(self, capacity: int = 80 * 2**30) -> None:
        self.ledger = Ledger()
        self.capacity, self.allocated, self.peak = capacity, 0, 0
        self.generator = torch.Generator().manual_seed(0)
        self.graph: MockGraph | None = None
        """The graph that operations are recorded for at present."""
        self._references: dict[int, int] = {}

    def run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run an operation on what the tensors hold.

        Raises:
            RuntimeError: its tensors are on several devices, as on a real one.
            torch.OutOfMemoryError: the result does not fit.
        """
        name = func._schema.name.partition("::")[2]
        flat = tree_flatten((args, kwargs))[0]
        mocks = [value for value in flat if isinstance(value, MockTensor)]
        host = [value for value in flat if isinstance(value, Tensor) and not isinstance(value, MockTensor)]
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        on_device = asked.type == "cuda" if asked is not None else bool(mocks)
        if name == "copy_":
            on_device = isinstance(args[0], MockTensor)
        if not mocks and not on_device:
            return func(*args, **kwargs)
        _check_devices(func, name, args, mocks, host)
        self._count(func, name, args, mocks, host, on_device)
        if asked is not None and asked.type == "cuda":
            kwargs = {**kwargs, "device": CPU}
        known = {id(mock.inner): mock for mock in mocks}
        unwrapped = tree_map(_inner, (tuple(args), kwargs))
        if self.graph is not None:
            self.graph.before(func, *unwrapped)
        out = self.compute(func, name, *unwrapped)
        if func._schema.is_mutable and any(mock.shape != mock.inner.shape for mock in mocks):
            _reshape(func, name, args, kwargs)
        outer = tree_map(lambda value: self._outer(value, known), out) if on_device else out
        if self.graph is not None:
            kept = [_inner(value) for value in tree_flatten(outer)[0] if isinstance(value, Tensor)]
            self.graph.after(func, name, *unwrapped, kept)
        return outer

    def wrap(self, inner: Tensor) -> MockTensor:
        """A tensor of the CPU as one of the device."""
        if inner.is_conj() or inner.is_neg():
            inner = inner.resolve_conj().resolve_neg()
        return MockTensor(inner, self)

    def allocate(self, inner: Tensor) -> "Allocation":
        """Memory of a tensor, which it may share with others.

        Raises:
            torch.OutOfMemoryError: it does not fit.
        """
        storage = inner.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if place not in self._references:
            if self.allocated + size > self.capacity:
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {size} bytes. GPU 0 has a total capacity of {self.capacity} bytes"
                )
            self.allocated += size
            self.peak = max(self.peak, self.allocated)
        self._references[place] = self._references.get(place, 0) + 1
        return Allocation(self, place, size)

    def release(self, place: int, size: int) -> None:
        """Give back what `allocate` gave."""
        self._references[place] -= 1
        if not self._references[place]:
            del self._references[place]
            self.allocated -= size

    def _outer(self, value: Any, known: dict[int, MockTensor]) -> Any:
        """What an operation returns: the same object where it worked in place."""
        if not isinstance(value, Tensor) or isinstance(value, MockTensor):
            return value
        same = known.get(id(value))
        return self.wrap(value) if same is None else same

    def _count(
        self, func: Any, name: str, args: Sequence[Any], mocks: list[MockTensor], host: list[Tensor], on_device: bool
    ) -> None:
        if name not in _VIEWS and not _is_view(func):
            self.ledger.operation(name)
        if name in ("_to_copy", "copy_"):
            source = args[0] if name == "_to_copy" else args[1]
            if isinstance(source, MockTensor) != on_device:
                self.ledger.wait("host to device" if on_device else "device to host")
        elif name in _READ_BY_HOST and mocks:
            self.ledger.wait(name)
        elif name in _INDEXING and mocks:
            indices = [index for index in args[1] or () if isinstance(index, Tensor)]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.ledger.wait(f"{name} by bool")
            if any(index is tensor for index in indices for tensor in host):
                self.ledger.wait("host to device")

    def compute(self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Do an operation on tensors of the CPU."""
        if name in _CUDNN:
            return _CUDNN[name](*args, **kwargs)
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        host = torch.default_generator
        before = host.get_state()
        host.set_state(self.generator.get_state())
        try:
            return func(*args, **kwargs)
        finally:
            self.generator.set_state(host.get_state())
            host.set_state(before)


def _check_devices(func: Any, name: str, args: Sequence[Any], mocks: list[MockTensor], host: list[Tensor]) -> None:
    if not mocks or not host or name in ("copy_", "_to_copy", "set_", "_has_compatible_shallow_copy_type"):
        return
    strangers = [tensor for tensor in host if tensor.ndim > 0 or not _takes_host_scalar(func, name)]
    if name in _INDEXING and isinstance(args[0], MockTensor):  # torch moves the indices, which waits
        strangers = [tensor for tensor in strangers if not any(tensor is index for index in args[1])]
    if strangers:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in strangers)
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({func}, of the CPU: {shapes})"
        )


def _takes_host_scalar(func: Any, name: str) -> bool:
    return torch.Tag.pointwise in func.tags or name in _SCALAR_FROM_CPU or "foreach" in name


def _reshape(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Do to the wrapper what an operation such as ``unsqueeze_`` has done to the tensor in it."""
    if name not in ("squeeze_", "t_", "transpose_", "unsqueeze_"):
        raise NotImplementedError(f"{name} changes the shape of a tensor of the mock device in place")
    with torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        func(*args, **kwargs)


def _is_view(func: Any) -> bool:
    """Whether the schema says that the result shares memory with an argument that is not written to."""
    return any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, MockTensor) else value


# -- cuDNN's operations, which the CPU lacks, by those that it has -----------------------------------------------------


def _batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, train: bool, momentum: float, eps: float
) -> tuple[Tensor, ...]:
    normalised, saved_mean, saved_invstd = torch.native_batch_norm(x, weight, bias, mean, var, train, momentum, eps)
    return normalised, saved_mean, saved_invstd, torch.empty(0, dtype=torch.uint8)


def _batch_norm_backward(
    x: Tensor, gradient: Tensor, weight: Tensor, mean: Tensor, var: Tensor, saved_mean: Tensor, saved_var: Tensor, eps: float, _: Tensor
) -> tuple[Tensor, ...]:  # fmt: skip
    return torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, mean, var, saved_mean, saved_var, True, eps, [True, True, True]
    )


def _grid_sampler(x: Tensor, grid: Tensor) -> Tensor:
    return torch.ops.aten.grid_sampler_2d(x, grid, 0, 0, True)


def _grid_sampler_backward(x: Tensor, grid: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.aten.grid_sampler_2d_backward(gradient, x, grid, 0, 0, True, [True, True])


_CUDNN: dict[str, Callable[..., Any]] = {
    "cudnn_batch_norm": _batch_norm,
    "cudnn_batch_norm_backward": _batch_norm_backward,
    "cudnn_grid_sampler": _grid_sampler,
    "cudnn_grid_sampler_backward": _grid_sampler_backward,
}
