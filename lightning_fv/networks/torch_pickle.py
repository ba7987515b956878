"""The pickles in files of `torch.save`, described without constructing anything."""

import math
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

PICKLE_LIMIT = 2**25
"""Largest pickle that is read, in bytes: tensors are stored outside of it, and its objects take up to 70 times its size."""

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_TENSORS = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")}
_PARAMETERS = {f"torch._utils._rebuild_parameter{ending}" for ending in ("", "_with_state")}
_PLAIN_TYPES = {"torch.Tensor", "torch.nn.parameter.Parameter"}


class Unread:
    """An object that is neither a tensor nor a plain value, of which only the name is known."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def ignore(self, *_: object) -> None:
        """What a pickle puts into an object."""

    append = extend = add = update = ignore


@dataclass(eq=False)
class Storage:
    """A run of numbers in a file: their type and length in bytes, both as declared, and where they start, once known."""

    dtype: torch.dtype
    length: int
    start: int | None = None


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a file describes it; ``offset`` and ``stride`` count elements of its storage."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def length(self) -> int:
        """Bytes that it takes as a tensor of its own."""
        return math.prod(self.size) * self.dtype.itemsize


@dataclass
class Content:
    """What the pickle of a file describes.

    Attributes:
        value: the whole, with a `StoredTensor` for each tensor and an `Unread` for each other object.
        storages: by key.
    """

    value: Any = None
    storages: dict[str, Storage] = field(default_factory=dict)


class _Global(str):
    """The dotted name of a class or function."""

    __slots__ = ()


# The reader written in Python: in the one written in C, the number of a memo entry reserves memory.
class Description(pickle._Unpickler):
    """Describes what a pickle would construct; nothing is imported or called."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, content: Content) -> None:
        super().__init__(file, encoding="utf-8")
        self._content = content
        self._copied = 0

    def find_class(self, module: str, name: str) -> Any:
        return _Global(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            return Unread("module")
        _, kind, key, _, count, *view = pid
        dtype = _DTYPES.get(kind.rpartition(".")[2]) if isinstance(kind, _Global) else None
        if dtype is None:
            return Unread(str(kind))
        if view not in ([], [None]):
            raise ValueError("it was written by a version of torch before 0.2")
        length = _whole(count) * dtype.itemsize
        storage = self._content.storages.setdefault(str(key), Storage(dtype, length))
        if (storage.dtype, storage.length) != (dtype, length):
            raise ValueError("two of its tensors describe the same numbers differently")
        return storage

    def _called(self, function: Any, arguments: Any) -> Any:
        """What a call in the pickle would return."""
        name = str(function) if isinstance(function, _Global) else "unknown object"
        if name == "collections.OrderedDict":
            pairs: list[Any] = list(*arguments)
            self._copied += len(pairs)
            if self._copied > PICKLE_LIMIT:
                raise ValueError("its dicts are copied too often")
            return _dict(pairs)
        if name in _PARAMETERS:
            return arguments[0]
        if name in _TENSORS:
            return self._tensor(name, *arguments)
        if name == "torch._tensor._rebuild_from_type_v2" and arguments[1] in _PLAIN_TYPES:
            return self._called(arguments[0], arguments[2])
        return Unread(name.replace("torch._utils._rebuild_", ""))

    def _tensor(self, name: str, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
        dtype, metadata = getattr(storage, "dtype", None), rest[2:]
        if name.endswith("_v3"):
            dtype, metadata = getattr(torch, rest[2].removeprefix("torch.")), rest[3:]
        if not isinstance(storage, Storage) or metadata not in ((), (None,), ({},)):  # such as conjugation
            return Unread("tensor of another kind")
        if not isinstance(dtype, torch.dtype) or len(size) != len(stride) or len(size) > 64:
            raise ValueError("a tensor has an impossible shape")
        tensor = StoredTensor(storage, dtype, _whole(offset), tuple(map(_whole, size)), tuple(map(_whole, stride)))
        return tensor

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.append(self._called(function, arguments))

    def _new(self) -> None:
        self.stack.pop()
        self.append(Unread(str(self.stack.pop())))

    def _new_with_names(self) -> None:
        self.stack.pop()
        self._new()

    def _instance(self) -> None:
        module, name = (self.readline()[:-1].decode() for _ in range(2))
        self.pop_mark()
        self.append(Unread(f"{module}.{name}"))

    def _object(self) -> None:
        self.append(Unread(str(self.pop_mark()[0])))

    def _state(self) -> None:
        self.stack.pop()

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append(_dict(zip(items[::2], items[1::2], strict=True)))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1].update(_dict([(key, value)]))

    def _set_items(self) -> None:
        self._dict()
        items = self.stack.pop()
        self.stack[-1].update(items)

    def _set(self) -> None:
        self.append(Unread("set"))

    def _frozen_set(self) -> None:
        self.pop_mark()
        self._set()

    def _refuse(self) -> None:
        raise ValueError("its pickle holds what torch.save does not write")

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _new,
        pickle.NEWOBJ_EX[0]: _new_with_names,
        pickle.INST[0]: _instance,
        pickle.OBJ[0]: _object,
        pickle.BUILD[0]: _state,
        pickle.DICT[0]: _dict,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.EMPTY_SET[0]: _set,
        pickle.FROZENSET[0]: _frozen_set,
    }
    # Extensions may have been registered with any function; the length of a bytearray would be reserved unseen.
    dispatch |= dict.fromkeys(
        (pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0], pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0]), _refuse
    )


def _dict(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dict in which no key is a tuple: hashing one that is nested deeply would end the process."""
    return {Unread("tuple") if isinstance(key, tuple) else key: value for key, value in pairs}


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a tensor has an impossible size")
    return value
