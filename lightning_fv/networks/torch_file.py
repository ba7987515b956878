"""Files of `torch.save`, read as data: nothing in them is executed, and no memory is taken for bytes that they do not have.

`torch.load` reserves whatever size a file declares, so that a file of 2 KB can ask for terabytes. Here the pickle inside a
file is only described: tensors become `StoredTensor`, everything else that it would construct an `Unread`. Tensors are read
afterwards, once their sizes are checked.
"""

import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, ClassVar

import torch
from torch import Tensor

PICKLE_LIMIT = 2**25
"""Largest pickle in a file, in bytes: tensors are stored outside of it, and its objects take up to 70 times its size."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of files from before torch 1.6, which are pickles followed by the numbers
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


def read_content(file: BufferedReader) -> object:
    """The pickled content of a file, with a `StoredTensor` for each tensor and an `Unread` for each other object.

    Raises:
        Exception: of nearly any kind, if the file is damaged or was not made by `torch.save`.
    """
    file.seek(0)
    return _read_zip(file) if file.read(4) == b"PK\x03\x04" else _read_legacy(file)


def read_tensors(file: BufferedReader, tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """The tensors of a file by name; those that share their storage in the file share memory.

    Args:
        file: where they are stored.
        tensors: parts of its `read_content`.

    Raises:
        ValueError: a tensor reaches beyond what is stored, or together they are far larger than the file.
    """
    total, size = sum(tensor.length for tensor in tensors.values()), _size(file)
    if total > max(4 * size, 2**26):  # tensors may share numbers, or repeat them with a stride of 0
        raise ValueError(f"its tensors would take {total} bytes, far more than it has")
    memory: dict[int, bytearray] = {}
    read = {}
    for name, tensor in tensors.items():
        storage, itemsize = tensor.storage, tensor.dtype.itemsize
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
        if 0 in tensor.size:
            read[name] = torch.empty(tensor.size, dtype=tensor.dtype)
            continue
        if storage.start is None or storage.start + storage.length > size or (last + 1) * itemsize > storage.length:
            raise ValueError(f"the tensor {name!r:.99} has more numbers than are stored")
        if id(storage) not in memory:
            file.seek(storage.start)
            memory[id(storage)] = bytearray(storage.length)
            file.readinto(memory[id(storage)])
        numbers = torch.frombuffer(memory[id(storage)], dtype=tensor.dtype, count=storage.length // itemsize)
        read[name] = numbers.as_strided(tensor.size, tensor.stride, tensor.offset)
    return read


def _read_zip(file: BufferedReader) -> object:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed, which torch.save never does")
    if sum(entry.file_size for entry in entries) > _size(file):
        raise ValueError("its parts declare more bytes than it has")
    places = {entry.filename: entry for entry in entries}
    folder = entries[0].filename.partition("/")[0] if entries else ""
    if f"{folder}/constants.pkl" in places:
        raise ValueError("it is a TorchScript program")
    if f"{folder}/byteorder" in places and _bytes(file, places[f"{folder}/byteorder"]) != b"little":
        raise ValueError("its numbers are not little-endian")

    storages: dict[str, Storage] = {}
    content = _Description(io.BytesIO(_bytes(file, places[f"{folder}/data.pkl"])), storages).load()
    for key, storage in storages.items():
        entry = places[f"{folder}/data/{key}"]
        if storage.length > entry.file_size:
            raise ValueError("a tensor has more numbers than are stored")
        storage.start = _start(file, entry)
    return content


def _start(file: BufferedReader, entry: zipfile.ZipInfo) -> int:
    """Where the bytes of an entry begin; its own header repeats the name, with an extra field of another length."""
    file.seek(entry.header_offset)
    names: tuple[int, int] = struct.unpack("<26x2H", file.read(30))
    return entry.header_offset + 30 + sum(names)


def _bytes(file: BufferedReader, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > PICKLE_LIMIT:
        raise ValueError(f"{entry.filename!r:.99} has {entry.file_size} bytes; up to {PICKLE_LIMIT} are read")
    file.seek(_start(file, entry))
    return file.read(entry.file_size)


def _read_legacy(file: BufferedReader) -> object:
    file.seek(0)
    stream = _Limited(file)
    storages: dict[str, Storage] = {}

    def load() -> Any:
        return _Description(stream, storages).load()

    if load() != _LEGACY_MAGIC or load() != 1001:
        raise ValueError("it was not written by torch.save")
    load()  # what the machine was like
    content, keys = load(), load()
    for key in keys:
        storage = storages[str(key)]
        (count,) = struct.unpack("<q", file.read(8))
        if count * storage.dtype.itemsize != storage.length:
            raise ValueError("a tensor has another number of elements than are stored")
        storage.start = file.tell()
        file.seek(storage.length, os.SEEK_CUR)
    return content


class _Limited:
    """A file to unpickle from, up to `PICKLE_LIMIT`: a buffered file would reserve as many bytes as it is asked for."""

    def __init__(self, file: BufferedReader) -> None:
        self._file, self._rest = file, min(PICKLE_LIMIT, _size(file))

    def read(self, count: int) -> bytes:
        if count > self._rest:
            raise EOFError("it ends too early")
        self._rest -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._rest)
        self._rest -= len(line)
        return line


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


class _Global(str):
    """The dotted name of a class or function."""

    __slots__ = ()


# The reader written in Python: in the one written in C, the number of a memo entry reserves memory.
class _Description(pickle._Unpickler):
    """Describes what a pickle would construct; nothing is imported or called. Adds the storages that it names to a dict."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, storages: dict[str, Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages
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
        storage = self._storages.setdefault(str(key), Storage(dtype, length))
        if (storage.dtype, storage.length) != (dtype, length):
            raise ValueError("two of its tensors describe the same numbers differently")
        return storage

    def _called(self, function: Any, arguments: Any) -> Any:
        """What a call in the pickle would return."""
        name = str(function) if isinstance(function, _Global) else "unknown object"
        if name == "collections.OrderedDict":
            pairs = list(*arguments)
            self._copied += len(pairs)
            if self._copied > PICKLE_LIMIT:
                raise ValueError("its dicts are copied too often")
            return _dict(pairs)
        if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return arguments[0]
        if name == "torch._tensor._rebuild_from_type_v2" and arguments[1] in (
            "torch.Tensor",
            "torch.nn.parameter.Parameter",
        ):
            return self._called(arguments[0], arguments[2])
        if name in (
            "torch._utils._rebuild_tensor",
            "torch._utils._rebuild_tensor_v2",
            "torch._utils._rebuild_tensor_v3",
        ):
            return _described(name, *arguments)
        return Unread(name.replace("torch._utils._rebuild_", ""))

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


def _described(name: str, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> StoredTensor | Unread:
    if not isinstance(storage, Storage):
        return Unread("tensor of an unknown type")
    dtype = storage.dtype
    if name.endswith("_v3"):
        dtype = getattr(torch, rest[2].removeprefix("torch."))
    if rest[3 if name.endswith("_v3") else 2 :] not in ((), (None,), ({},)):
        return Unread("tensor with metadata")
    if not isinstance(dtype, torch.dtype) or len(size) != len(stride) or len(size) > 64:
        raise ValueError("a tensor has an impossible shape")
    return StoredTensor(storage, dtype, _whole(offset), tuple(map(_whole, size)), tuple(map(_whole, stride)))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a tensor has an impossible size")
    return value
