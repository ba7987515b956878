"""Files that TensorBoard reads, and their checksums."""

import errno
import random
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as reference

from lightning_fv.report.event_file import EventFile, crc32c


def test_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's polynomial, the customary check value
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4
    draw = random.Random(0)
    for length in (4, 5, 8, 31, 32, 33, 1000, 4097):
        data = draw.randbytes(length)
        assert crc32c(data) == reference(data)


def test_events_are_read_back_in_order_while_the_file_is_open(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "folder", ".pictures")
    for step in range(3):
        event = Event(step=step)
        event.summary.value.add(tag="size", simple_value=10.0 * step)
        file.add(event)
    (path,) = (tmp_path / "folder").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    assert path.name.endswith(".pictures")
    first, *events = EventFileLoader(str(path)).Load()  # stops at a wrong checksum
    assert first.file_version == "brain.Event:2"
    assert [event.step for event in events] == [0, 1, 2]
    file.close()


def test_two_files_of_a_process_have_two_names(tmp_path: Path) -> None:
    EventFile(tmp_path).close()
    EventFile(tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_is_an_error_at_once() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    file = EventFile.__new__(EventFile)
    file._file = full.open("wb", buffering=0)
    with pytest.raises(OSError, match="No space") as raised:
        file.add(Event(step=1))
    assert raised.value.errno == errno.ENOSPC
