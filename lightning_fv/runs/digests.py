"""Digests by which a file is found to be truncated or modified since it was written."""

import functools
import hashlib
import os
import re
from pathlib import Path

from lightning_fv.runs.files import read_file

_END = "# end of settings, blake2b "
_LAST_LINE = re.compile(_END.encode() + rb"[0-9a-f]{32}\n\Z")


def digest(*parts: bytes | memoryview) -> str:
    """The BLAKE2b digest of bytes, as 32 hexadecimal digits."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """The digest of a file's bytes. It is remembered: a file that has not been touched since is not read again.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    known = os.stat(path)
    return _file_digest(str(path), known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns)


def seal(text: str) -> str:
    """Settings with a last line, a comment to YAML, that holds the digest of everything above it."""
    text = text if text.endswith("\n") or not text else f"{text}\n"
    return f"{text}{_END}{digest(text.encode())}\n"


def is_sealed(content: bytes) -> bool:
    """Whether a file holds exactly what `seal` returned for some text."""
    end = _LAST_LINE.search(content)
    return end is not None and content == seal(content[: end.start()].decode("utf-8", "replace")).encode()


@functools.lru_cache(maxsize=1 << 17)
def _file_digest(path: str, *stamp: int) -> str:
    return digest(read_file(path))
