"""Published weights files: found in torch's cache or downloaded into it, and checked by their hash."""

import hashlib
import os
import re
import socket
import sys
from dataclasses import dataclass
from http.client import HTTPException
from io import BufferedReader
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import torch

from lightning_fv.errors import CheckpointError, note

CONNECT_SECONDS = 5.0  # to connect to a host, for all of its addresses together
SILENCE_SECONDS = 10.0  # the longest pause of a connected server


@dataclass(frozen=True)
class WeightsFile:
    """A published weights file.

    Args:
        url: https, or http on this machine; redirects may lead anywhere, since the hash decides. Its last part names the
            file in the cache, as in `torch.hub`.
        sha256: 64 hex digits, or as many of the first ones as the publisher gives, at least 8. A short prefix
            protects against damage, not against forgery.
        size, licence, citation: printed before a download; the size is in bytes, approximately.

    Raises:
        CheckpointError: the URL is of another kind, or ``sha256`` is not such a digest.
    """

    url: str
    sha256: str
    size: int | None = None
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        _checked_digest(self.sha256)
        if not re.match(r"https://[^/@]+/|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?/", self.url):
            raise CheckpointError(f"{self.url} is neither https nor on this machine; download it manually")

    @property
    def name(self) -> str:
        """The name of the file in the cache."""
        return self.url.rpartition("/")[2]


def hash_in_name(url: str) -> str:
    """The first digits of the SHA-256 that publishers put into file names: ``0676ba61`` of ``resnet50-0676ba61.pth``."""
    digits = re.findall(r"-([0-9a-f]{8,64})\.", url.rpartition("/")[2])
    if not digits:
        raise CheckpointError(f"{url} has no hash in its name, so cannot be checked; download it manually")
    return str(digits[-1])


def cache_folder() -> Path:
    """torch's folder for weights (``$TORCH_HOME/hub/checkpoints``), shared with other programs; it need not exist."""
    return Path(torch.hub.get_dir()).absolute() / "checkpoints"


def is_offline(offline: bool = False) -> bool:
    """Whether downloads are forbidden: by argument, or by the environment variable ``HF_HUB_OFFLINE=1``."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch(file: WeightsFile, offline: bool = False) -> Path:
    """The path of a file in the cache, downloaded if it is missing there or has another hash.

    A download is hashed as it arrives and gets its final name only if the hash is right, so that several processes may
    fetch the same file at once. While it runs, new sockets of this process have a timeout of `SILENCE_SECONDS`.

    Args:
        file: what to get.
        offline: never download; see `is_offline`.

    Raises:
        CheckpointError: offline, no connection (reported after `CONNECT_SECONDS`), the server sent another file, or the cache
            cannot be written. The message says where to put the file.
    """
    path = cache_folder() / file.name
    by_hand = f"download it manually and save it as {path} (TORCH_HOME moves the cache)"
    try:
        problem = f"{path} is missing"
        if path.exists():
            with path.open("rb") as cached:
                mismatch = hash_mismatch(cached, file.sha256)
            if mismatch is None:
                return path
            problem = f"{path} is not the published file ({mismatch})"
        if is_offline(offline):
            raise CheckpointError(f"{problem}, and {file.url} cannot be downloaded when offline; {by_hand}")
        size = "size unknown" if file.size is None else f"{file.size / 1e6:.1f} MB"
        notes = [f"{problem}; downloading {file.url}", size, file.licence, file.citation]
        note("; ".join(filter(None, notes)))
        path.parent.mkdir(parents=True, exist_ok=True)
        check_connection(file.url)
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SILENCE_SECONDS)  # torch opens the URL without a timeout
        try:
            torch.hub.download_url_to_file(
                file.url, str(path), file.sha256.lower(), progress=sys.stderr is not None and sys.stderr.isatty()
            )
        finally:
            socket.setdefaulttimeout(timeout)
    except (OSError, HTTPException, RuntimeError, ValueError) as error:  # RuntimeError is torch's for a wrong hash
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"cannot download {file.url} to {path}: {reason}; {by_hand}") from None
    return path


def check_connection(url: str) -> None:
    """Raise OSError if a host accepts no connection within `CONNECT_SECONDS`; nothing is checked behind a proxy.

    Download clients would give each address of the host their full timeout, and retry. Name resolution is not covered:
    it takes as long as the system is configured to wait.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)
    if {parts.scheme, "all"} & getproxies().keys() and not proxy_bypass(host):
        return
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    socket.create_connection((host, port), CONNECT_SECONDS / len(addresses)).close()


def hash_mismatch(file: BufferedReader, sha256: str) -> str | None:
    """How the hash of an open file differs from the expected one, or from its first digits; None if it does not."""
    expected = _checked_digest(sha256)
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if found.startswith(expected):
        return None
    return f"SHA-256 {found}, expected {expected}{'...' if len(expected) < 64 else ''}"


def _checked_digest(digits: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{8,64}", digits):  # an empty prefix would match every file
        raise CheckpointError(f"{digits!r} is not a SHA-256: give its 64 hex digits, or at least the first 8")
    return digits.lower()
