"""Files that are either whole or not there, and what could not be written."""

import contextlib
import os
import stat
import textwrap
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from lightning_fv.runs.files import (
    NotAFileError,
    WriteErrors,
    open_file,
    read_file,
    remove_partials,
    write_atomic,
    write_new_text,
    write_text_atomic,
)
from tests.processes import run_python


def half_and_fail(error: type[BaseException]) -> object:
    def write(file: BinaryIO) -> None:
        file.write(b"half of the new con")
        file.flush()
        raise error("in the middle")

    return write


@pytest.mark.parametrize("durable", [True, False])
def test_writes_and_replaces(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file.bin"
    for content in (b"first", b"second and longer", b"", b"\x00\xff"):
        write_atomic(path, lambda file, content=content: file.write(content), durable=durable)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_old_content_stays_when_the_writer_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(error, match="in the middle"):
        write_atomic(path, half_and_fail(error))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_comes_to_be_when_the_writer_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in the middle"):
        write_atomic(tmp_path / "file.bin", half_and_fail(ValueError))
    assert list(tmp_path.iterdir()) == []


def test_the_name_is_taken_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomic(path, write)
    assert path.read_bytes() == b"new"


def test_colleagues_can_read_it(tmp_path: Path) -> None:
    """As if it had been opened for writing: by the umask, not by mkstemp's 0600."""
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    before = os.umask(0o027)
    try:
        plain.write_bytes(b"")
        write_atomic(atomic, lambda file: file.write(b""))
        assert os.umask(0o027) == 0o027  # reading the mask has not changed it
    finally:
        os.umask(before)
    assert stat.S_IMODE(atomic.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode) == 0o640


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        write_atomic(tmp_path / "missing" / "file.bin", lambda file: file.write(b""))


def test_a_file_in_the_place_of_the_folder_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(OSError, match="folder"):
        write_atomic(tmp_path / "folder" / "file.bin", lambda file: file.write(b""))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_an_os_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            write_atomic(tmp_path / "file.bin", lambda file: file.write(b""))
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_in_the_place_of_the_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomic(tmp_path / "taken", lambda file: file.write(b""))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("name", ["x" * 255, "ö" * 120, ".hidden", "with space"])
def test_any_name_that_the_disk_takes(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, lambda file: file.write(b"content"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.timeout(60)
def test_only_files_are_opened(tmp_path: Path) -> None:
    """A pipe whose other end nobody opens would be waited for without end, and a device may do anything."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_file(tmp_path / "file") == read_file(tmp_path / "link") == b"content"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in {"pipe": "a named pipe", "folder": "a folder", "zero": "a device"}.items():
        for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY):
            with pytest.raises(NotAFileError, match=f"it is {kind}, not a file"):
                open_file(tmp_path / name, flags)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none")
    os.close(open_file(tmp_path / "none", os.O_RDWR | os.O_CREAT))
    assert read_file(tmp_path / "none") == b""


@pytest.mark.timeout(60)
def test_a_pipe_or_link_is_replaced_and_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for make in (os.mkfifo, lambda path: path.symlink_to("other")):
        make(path)
        write_text_atomic(path, "new")
        assert path.read_text() == "new"
        path.unlink()
    assert list(tmp_path.iterdir()) == []


def test_text_is_utf8_without_translation(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "file.txt", "ß\n☃\r\n")
    assert (tmp_path / "file.txt").read_bytes() == "ß\n☃\r\n".encode()


def test_of_many_that_make_a_file_one_does(tmp_path: Path) -> None:
    path, made = tmp_path / "file.txt", []

    def make(number: int) -> None:
        with contextlib.suppress(FileExistsError):
            write_new_text(path, f"by {number}")
            made.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (number,) = made
    assert path.read_text() == f"by {number}"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from lightning_fv.runs.files import write_atomic
        write_atomic(Path(sys.argv[1]), lambda file: os._exit(9))
    """
    inner = tmp_path / "inner"
    inner.mkdir()
    assert run_python("-c", textwrap.dedent(code), inner / "file.bin").returncode == 9
    kept = {inner / name for name in ("done.partial", ".hidden", "file.txt")}
    for file in kept:
        file.touch()
    assert len(list(inner.iterdir())) == 4
    remove_partials(tmp_path)
    assert set(inner.iterdir()) == kept


def test_what_cannot_be_written_is_told_once(recwarn: pytest.WarningsRecorder) -> None:
    errors = WriteErrors()
    assert not errors
    errors.add("frames", OSError(28, "No space left on device"))
    errors.add("frames", OSError(5, "Input/output error"))
    errors.add("logs", ValueError("closed"))
    assert [str(warning.message).partition(":")[0] for warning in recwarn] == ["frames", "logs"]
    assert errors.reasons == {"frames": "No space left on device", "logs": "ValueError: closed"}
    assert errors
