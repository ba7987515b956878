"""Digests: every cut and every changed byte is found."""

import os
from pathlib import Path

import pytest
import yaml

from lightning_fv.runs.digests import digest, file_digest, is_sealed, seal

TEXT = "".join(f"key_{number}:\n- {number}\n- ü: 'text # {number}'\n" for number in range(40))


@pytest.mark.parametrize("text", [TEXT, TEXT.removesuffix("\n"), "", "# end of settings, blake2b \n", "\n\n"])
def test_what_is_sealed_is_the_same_yaml_and_is_known(text: str) -> None:
    assert yaml.safe_load(seal(text)) == yaml.safe_load(text)
    assert is_sealed(seal(text).encode())
    assert not is_sealed(text.encode())


def test_every_cut_is_found() -> None:
    content = seal(TEXT).encode()
    assert not any(is_sealed(content[:length]) for length in range(len(content)))
    assert not any(is_sealed(content[start:]) for start in range(1, len(content)))
    lines = content.splitlines(keepends=True)
    assert not any(is_sealed(b"".join(lines[:number] + lines[number + 1 :])) for number in range(len(lines)))


def test_every_changed_byte_is_found() -> None:
    content = bytearray(seal(TEXT).encode())
    for place in range(len(content)):
        for bit in (1, 0x20, 0x80):  # 0x20: the other case of a letter
            content[place] ^= bit
            assert not is_sealed(bytes(content)), place
            content[place] ^= bit
    assert is_sealed(bytes(content))


@pytest.mark.parametrize("more", [b"\n", b" ", b"seed: 1\n", seal("seed: 1\n").encode(), b"\xff", b"\x00"])
def test_what_is_added_is_found(more: bytes) -> None:
    content = seal(TEXT).encode()
    assert not is_sealed(content + more)
    assert not is_sealed(more + content)


def test_a_file_that_is_touched_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"first")
    os.utime(file, ns=(0, 0))
    assert file_digest(file) == digest(b"fi", b"rst")
    file.write_bytes(b"other")  # of the same length, with another time
    assert file_digest(file) == digest(b"other")
    file.unlink()
    with pytest.raises(FileNotFoundError):
        file_digest(file)
    file.mkdir()
    with pytest.raises(OSError, match="it is a folder, not a file"):
        file_digest(file)
