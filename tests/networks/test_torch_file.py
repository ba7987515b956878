"""Files that ask for more memory than they have bytes, and everything that a tensor in a file can be."""

import contextlib
import io
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_fv.errors import CheckpointError
from lightning_fv.networks.load import load_network
from lightning_fv.networks.torchvision import build_torchvision
from lightning_fv.networks.weights import load_strictly, read_weights
from tests.helpers import TinyNet

TERABYTES = 10**12
"""Numbers, of four bytes."""


@contextlib.contextmanager
def little_memory(extra: int = 60_000_000) -> Iterator[None]:
    """As many further bytes of address space for this process, and no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class Numbers:
    """Pickles as a storage in a file of torch.save."""

    def __init__(self, count: int, key: str = "0") -> None:
        self.count, self.key = count, key


class Writer(pickle._Pickler):
    def __init__(self, file: Any, *view: None) -> None:
        super().__init__(file, protocol=2)
        self.view = view

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Numbers):
            return ("storage", torch.FloatStorage, obj.key, "cpu", obj.count, *self.view)
        return None


def tensor(count: int, *size: int, stride: tuple[int, ...] | None = None, key: str = "0") -> Call:
    stride = stride or (1,) * len(size)
    return Call(torch._utils._rebuild_tensor_v2, Numbers(count, key), 0, size, stride, False, None)


def as_zip(content: object, numbers: int = 4, compression: int = zipfile.ZIP_STORED) -> bytes:
    pickled, file = io.BytesIO(), io.BytesIO()
    if isinstance(content, bytes):
        pickled.write(content)
    else:
        Writer(pickled).dump(content)
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled.getvalue())
        archive.writestr("net/data/0", bytes(4 * numbers))
        archive.writestr("net/version", "3\n")
    return file.getvalue()


def as_legacy(content: object, declared: int = 4) -> bytes:
    file = io.BytesIO()
    Writer(file, None).dump(content)
    pickle.dump(["0"], file, protocol=2)
    return LEGACY + file.getvalue() + struct.pack("<q", declared) + bytes(16)


LEGACY = b"".join(pickle.dumps(header, 2) for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))


def saved(content: object, old_format: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old_format)
    return file.getvalue()


def overlapping() -> bytes:
    """Many storages that are the same bytes of the file."""
    content = as_zip({str(number): tensor(10**6, 10**6, key=str(number)) for number in range(300)}, 10**6)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (one,) = (entry for entry in archive.infolist() if entry.filename == "net/data/0")
        file = io.BytesIO(content)
        with zipfile.ZipFile(file, "a") as longer:
            for number in range(1, 300):
                entry = zipfile.ZipInfo(f"net/data/{number}")
                entry.file_size = entry.compress_size = one.file_size
                entry.header_offset, entry.CRC = one.header_offset, one.CRC
                longer.filelist.append(entry)
            longer._didModify = True
    return file.getvalue()


def safetensors(shape: list[int], length: int | None = None, stored: int = 16) -> bytes:
    header = f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{stored}]}}}}'.encode()
    return struct.pack("<Q", length if length is not None else len(header)) + header + bytes(16)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "compressed": (
        lambda: as_zip({"a": tensor(3 * 10**7, 3 * 10**7)}, 3 * 10**7, zipfile.ZIP_DEFLATED),
        "it is compressed, which torch.save never does",
    ),
    "overlapping": (overlapping, "its parts declare more bytes than it has"),
    "declared": (lambda: as_zip({"a": tensor(TERABYTES, TERABYTES)}), "more numbers than are stored"),
    "beyond": (lambda: as_zip({"a": tensor(4, 1000)}), "a tensor of shape (1000,) has more numbers than are stored"),
    "repeated": (lambda: saved({"a": torch.zeros(1).half().expand(10**6, 10**6)}), "would take 2000000000000 bytes"),
    "repeated, legacy": (
        lambda: saved({"a": torch.zeros(1).half().expand(10**6, 10**6)}, old_format=True),
        "would take 2000000000000 bytes",
    ),
    "many times": (lambda: saved({str(i): torch.zeros(1).expand(10**6) for i in range(1000)}), "would take 4000000000"),
    "declared, legacy": (lambda: as_legacy({"a": tensor(TERABYTES, 4)}), "another number of elements than are stored"),
    "stored, legacy": (lambda: as_legacy({"a": tensor(TERABYTES, 4)}, TERABYTES), "more numbers than are stored"),
    "a call": (lambda: as_zip({"a": Call(bytearray, TERABYTES)}), "'a': __builtin__.bytearray, which is not read"),
    "a storage": (lambda: as_zip({"a": Call(torch.FloatStorage, TERABYTES)}), "'a': torch.FloatStorage, which is not"),
    "a tensor": (lambda: as_zip({"a": Call(torch.Tensor, TERABYTES)}), "'a': torch.Tensor, which is not read"),
    "a memo": (
        lambda: LEGACY + b"\x80\x02}r\xff\xff\xff\x7f." + pickle.dumps([]),
        "does not hold a dict of tensors (it is empty)",
    ),
    "a long text": (lambda: LEGACY + b"\x8e" + struct.pack("<Q", 2**40), "it ends too early"),
    "a bytearray": (lambda: LEGACY + b"\x96" + struct.pack("<Q", 2**40), "torch.save does not write"),
    "a deep key": (lambda: as_zip(b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s."), "the name tuple"),
    "a large pickle": (lambda: as_zip(b"]" * 2**25 + b"."), "up to 33554432 are read"),
    "a long header": (lambda: safetensors([4], length=2**40), "cannot be read as weights"),
    "a large shape": (lambda: safetensors([TERABYTES]), "cannot be read as weights"),
    "a large place": (lambda: safetensors([TERABYTES], stored=4 * TERABYTES), "cannot be read as weights"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_takes_little_memory_and_one_line(tmp_path: Path, kind: str) -> None:
    make, told = BOMBS[kind]
    path = tmp_path / "net.pth"
    path.write_bytes(make())
    with little_memory(), pytest.raises(CheckpointError) as error:
        read_weights(path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_network_is_not_built_with_more_classes_than_the_file_has_numbers(tmp_path: Path) -> None:
    module = build_torchvision("shufflenet_v2_x0_5", num_classes=3)
    state = module.state_dict() | {"fc.bias": torch.zeros(1).expand(10**7)}
    torch.save(state, tmp_path / "net.pth")
    own: dict[str, Any] = {"architecture": "torchvision/shufflenet_v2_x0_5", "mean": (0.5,) * 3, "std": (0.2,) * 3}
    with (
        little_memory(2 * 10**8),
        pytest.raises(CheckpointError, match=r"with 10000000 classes: 1 of another shape \(fc\.weight"),
    ):
        load_network(f"checkpoint:{tmp_path / 'net.pth'}", **own)
    torch.save(module.state_dict() | {"fc.scale.weight": torch.tensor(1.0)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"1 unexpected \(fc\.scale\.weight\)"):
        load_network(f"checkpoint:{tmp_path / 'net.pth'}", **own)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int8, torch.bool])
def test_numbers_that_are_not_real_are_no_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    state = TinyNet().state_dict()
    torch.save({**state, "conv1.weight": state["conv1.weight"].to(dtype)}, tmp_path / "net.pth")
    network = TinyNet(seed=1)
    with pytest.raises(CheckpointError, match=f"conv1.weight is {dtype} instead of torch.float32"):
        load_strictly(network, read_weights(tmp_path / "net.pth"), "net.pth")
    if dtype.is_complex:  # for whole numbers too
        norm = nn.BatchNorm2d(3)
        counted = {**norm.state_dict(), "num_batches_tracked": torch.tensor(1j)}
        with pytest.raises(CheckpointError, match=r"num_batches_tracked is torch\.complex64 instead of torch\.int64"):
            load_strictly(norm, counted, "net.pth")
    torch.testing.assert_close(network.state_dict(), TinyNet(seed=1).state_dict(), rtol=0, atol=0)


def test_a_device_is_no_file() -> None:
    for path in (Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(CheckpointError, match=f"{path}: it is not a file"):
            read_weights(path, "0" * 64)
