"""Files that TensorBoard reads."""

import functools
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed (RFC 3720, appendix B.4)."""


class EventFile:
    """An event file, to which each event is written at once.

    TensorBoard's own writer computes its checksums byte by byte in Python, 0.1 ms for each kilobyte of a picture, in which the render
    waits for the interpreter; and it has a thread, which hides errors.

    Args:
        folder: is made if it is missing.
        suffix: end of the file's name, which begins with ``events.out.tfevents``.

    Raises:
        OSError: the file cannot be written; also by `add`.
    """

    _made = 0

    def __init__(self, folder: str | os.PathLike[str], suffix: str = "") -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # here: importing it takes time

        Path(folder).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{EventFile._made}{suffix}"
        EventFile._made += 1
        self._file = open(Path(folder) / name, "wb", buffering=0)  # noqa: SIM115
        self.add(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, event: Any) -> None:
        """Write an event."""
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        rest = memoryview(length + _masked(length) + content + _masked(content))
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _masked(data: bytes) -> bytes:
    """The checksum as these files hold it (TFRecord)."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """CRC-32C of at least four bytes.

    Checksums are linear: that of two parts is the second's, plus (XOR) the first's moved by as many zeros as the second is long. So those of
    single bytes are joined to those of two, four, eight, ..., of all parts at once.
    """
    count = 1 << (len(data) - 1).bit_length()
    padded = np.zeros(count, np.uint8)  # zeros in front change nothing
    padded[count - len(data) :] = np.frombuffer(data, np.uint8)
    padded[count - len(data) :][:4] ^= 0xFF  # the register starts with ones
    sums = _of_bytes()[padded]
    level = 0
    while len(sums) > 1:
        first, second = sums[0::2], sums[1::2]
        tables = _moved(level)
        sums = second ^ tables[0][first & 255]
        for place in (1, 2, 3):
            sums ^= tables[place][first >> np.uint32(8 * place) & 255]
        level += 1
    return int(sums[0]) ^ 0xFFFFFFFF


@functools.cache
def _of_bytes() -> NDArray[np.uint32]:
    """The checksum of each byte, from zero."""
    sums = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        sums = np.where(sums & 1, sums >> 1 ^ np.uint32(_POLYNOMIAL), sums >> 1).astype(np.uint32)
    return sums


@functools.cache
def _moved(level: int) -> NDArray[np.uint32]:
    """What ``2**level`` zeros make of a checksum, for the values of each of its bytes, (4, 256): to be added up."""
    if level == 0:
        values = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32))[:, None]
        moved: NDArray[np.uint32] = (values >> np.uint32(8)) ^ _of_bytes()[values & 255]
        return moved
    half = _moved(level - 1)
    twice: NDArray[np.uint32] = half[0][half & 255]
    for place in (1, 2, 3):
        twice ^= half[place][half >> np.uint32(8 * place) & 255]
    return twice
