"""Files of `torch.save`, read as data: nothing in them is executed, and no memory is taken for bytes that they do not have.

`torch.load` reserves whatever size a file declares, so that a file of 2 KB can ask for terabytes. Here the pickle inside a
file is only described: tensors become `StoredTensor`, everything else that it would construct an `Unread`. Tensors are read
afterwards, once their sizes are checked.
"""

import io
import os
import struct
import zipfile
from collections.abc import Collection, Mapping
from io import BufferedReader
from typing import Any

import torch
from torch import Tensor

from lightning_fv.networks.torch_pickle import PICKLE_LIMIT, Content, Description, StoredTensor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of files from before torch 1.6, which are pickles followed by the numbers


def read_content(file: BufferedReader) -> Content:
    """Describe a file.

    Raises:
        Exception: of nearly any kind, if the file is damaged or was not made by `torch.save`.
    """
    content = Content()
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        _read_zip(file, content)
    else:
        _read_legacy(file, content)
    return content


def read_tensors(file: BufferedReader, tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """The tensors of a file by name; those that share their storage in the file share memory.

    Args:
        file: where they are stored.
        tensors: parts of its `read_content`.

    Raises:
        ValueError: a tensor reaches beyond what is stored, or together they are far larger than the file.
    """
    _check_sizes(file, tensors.values())
    memory: dict[int, bytearray] = {}
    read = {}
    for name, tensor in tensors.items():
        if 0 in tensor.size:
            read[name] = torch.empty(tensor.size, dtype=tensor.dtype)
            continue
        storage = tensor.storage
        if id(storage) not in memory:
            memory[id(storage)] = bytearray(storage.length)
            assert storage.start is not None
            file.seek(storage.start)
            file.readinto(memory[id(storage)])
        numbers = torch.frombuffer(
            memory[id(storage)], dtype=tensor.dtype, count=storage.length // tensor.dtype.itemsize
        )
        read[name] = numbers.as_strided(tensor.size, tensor.stride, tensor.offset)
    return read


def _check_sizes(file: BufferedReader, tensors: Collection[StoredTensor]) -> None:
    total, size = sum(tensor.length for tensor in tensors), _size(file)
    if total > max(4 * size, 2**26):  # tensors may share numbers, or repeat them with a stride of 0
        raise ValueError(f"its tensors would take {total} bytes, far more than the file holds")
    for tensor in tensors:
        storage = tensor.storage
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
        end = 0 if 0 in tensor.size else (last + 1) * tensor.dtype.itemsize
        if storage.start is None or storage.start + storage.length > size or end > storage.length:
            raise ValueError(f"a tensor of shape {tensor.size} has more numbers than are stored")


def _read_zip(file: BufferedReader, content: Content) -> None:
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

    content.value = Description(io.BytesIO(_bytes(file, places[f"{folder}/data.pkl"])), content).load()
    for key, storage in content.storages.items():
        entry = places[f"{folder}/data/{key}"]
        if storage.length > entry.file_size:
            raise ValueError("a tensor has more numbers than are stored")
        storage.start = _start(file, entry)


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


def _read_legacy(file: BufferedReader, content: Content) -> None:
    file.seek(0)
    stream = _Limited(file)

    def load() -> Any:
        return Description(stream, content).load()

    if load() != _LEGACY_MAGIC or load() != 1001:
        raise ValueError("it was not written by torch.save")
    load()  # what the machine was like
    content.value, keys = load(), load()
    for key in keys:
        storage = content.storages[str(key)]
        (count,) = struct.unpack("<q", file.read(8))
        if count * storage.dtype.itemsize != storage.length:
            raise ValueError("a tensor has another number of elements than are stored")
        storage.start = file.tell()
        file.seek(storage.length, os.SEEK_CUR)


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
