"""Weights as data: no code in them runs, and they are what they were."""

import hashlib
import http.client
import ipaddress
import os
import pickle
import pickletools
import re
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import IO, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from lightning_fv.errors import CheckpointError
from lightning_fv.runs.files import write_atomic

CONNECT_SECONDS = 4.5  # name look-up, TCP and TLS together; "no network" shall be said within 5 s
SILENCE_SECONDS = 5.0  # the longest pause of a server that is connected
_CHUNK = 1 << 20
_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number of torch.save before 1.6


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights.

    Args:
        url: where it is; https, or http on a loopback address.
        name: its file name in the cache; torch's own name, so that a file torch has fetched is found.
        sha256: its 64 hex digits, or as many as the publisher gives, at least 8. So few protect against damage, not
            against a forger.
        size: bytes, if known.
        licence: shown before a download, if it has one.
        citation: whom to cite.

    Raises:
        CheckpointError: ``sha256`` is no such digest, or ``name`` is more than a file name.
    """

    url: str
    name: str
    sha256: str
    size: int | None = None
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        _checked_digest(self.sha256)
        if self.name in ("", ".", "..") or set(self.name) & set("/\\\0"):
            raise _error(f"{self.name!r} is not a plain file name; name the file without a folder")

    @property
    def digest_is_whole(self) -> bool:
        """Whether ``sha256`` has all 64 digits and so proves the file, not only its health."""
        return len(self.sha256) == 64


def cache_folder() -> Path:
    """torch's folder for weights, so that programs share them.

    That is ``hub/checkpoints`` in ``$TORCH_HOME``, else in ``$XDG_CACHE_HOME/torch``, else in ``~/.cache/torch``;
    a folder set by `torch.hub.set_dir` comes before these. It need not exist.
    """
    return Path(torch.hub.get_dir()).absolute() / "checkpoints"


def fetch(file: WeightsFile, offline: bool = False) -> Path:
    """The file in the cache, downloaded if it is not there; checked in both cases.

    A cached file that is wrong is never used: it is moved aside to ``<name>.damaged`` (``<name>.2.damaged``, ... if that
    is taken), which is said on stderr, and downloaded again. A download has its name only once it is whole and right;
    if it came cut short or wrong it is tried once more.

    Args:
        file: what to get.
        offline: whether to stay off the network; the environment variable ``HF_HUB_OFFLINE=1`` does the same.

    Returns:
        The path of a file that had the right size and digest a moment ago. Give both to `read_weights`, which checks
        what it reads.

    Raises:
        CheckpointError: offline or no network (within 5 s; says where to put the file), what came is not the file
            (twice), the address is neither https nor loopback (also after a redirect), or the cache cannot be written.
    """
    path = cache_folder() / file.name
    by_hand = f"download {file.url} by other means and put it at {path}"
    try:
        set_aside = _set_aside_if_wrong(path, file)
        if path.exists():
            return path
        if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            found = f"the cached {file.name} was not the published file ({set_aside})" if set_aside else f"no {path}"
            raise _error(f"{found}, and no download when offline; {by_hand}")
        if not _may_be_visited(file.url):
            raise _error(f"{file.url} is not visited: neither https nor this machine; {by_hand}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _announce(file)
        for attempt in (1, 2):
            try:
                write_atomic(path, lambda out: _download(file, out))
                return path
            except _DownloadError as error:
                if attempt == 2 or not error.again:
                    raise _error(f"{error}{', twice' if attempt == 2 else ''}; {by_hand}") from None
    except OSError as error:
        raise _error(
            f"cannot keep {file.name} at {path}: {error}; make room or set TORCH_HOME to a folder that can be written"
        ) from None
    raise AssertionError("unreachable")


def read_weights(path: Path, sha256: str | None = None, size: int | None = None) -> dict[str, Tensor]:
    """Read the tensors of a network; size and digest are checked before anything is parsed, and no code runs.

    A name that ends with ``.safetensors`` is read as such, everything else as a file of `torch.save` with
    ``weights_only=True``, without a fallback. Tensors under ``state_dict`` or ``model`` are unwrapped, and a ``module.``
    that every name begins with (the mark of `torch.nn.DataParallel`) is dropped.

    Args:
        path: the file.
        sha256: 64 hex digits it must have, or the first 8 or more of them. Without it a changed byte goes unnoticed:
            neither format is checked by its reader.
        size: bytes it must have.

    Returns:
        Its tensors by name in the order of the file, on the CPU, floating point ones as float32. A plain dict: with the
        version marks of a torch state_dict, files older than ``num_batches_tracked`` would not load.

    Raises:
        CheckpointError: missing, empty, damaged, cut short, a web page, not the file of that digest, a pickle that wants
            more than tensors (the message names it), or no dict of tensors.
    """
    path = Path(path)
    expected = None if sha256 is None else _checked_digest(sha256)
    if not path.is_file():
        raise _error(f"no weights file {path}; give the path of a .safetensors, .pth or .pt file")
    try:
        with path.open("rb") as file:  # one handle, so that what was hashed is what torch reads
            difference = _difference(file, expected, size)
            bytes_found = os.fstat(file.fileno()).st_size
            known = "" if size is None else f", expected {size}"
            subject = f"{path} ({bytes_found} bytes{known})"
            looks = _looks_like(_start_of(file), _is_whole_zip(file))
            if difference is not None:
                raise _error(f"{subject} is not the published file: {difference}; it looks like {looks}; get it again")
            if bytes_found == 0:
                raise _error(f"{subject} looks like {looks}; get it again")
            file.seek(0)
            as_safetensors = path.suffix.lower() == ".safetensors"
            try:
                content = _read_safetensors_in_order(path) if as_safetensors else _load_tensors_only(file)
            except MemoryError:
                raise
            except Exception as error:  # a broken pickle can raise nearly anything
                names = [] if as_safetensors else _forbidden_globals(file, error)
                if names:
                    raise _error(
                        f"{subject} looks like {looks}, and wants more than tensors: {', '.join(names)}; it was not run; "
                        "get a file of the state_dict's tensors alone from its maker"
                    ) from None
                raise _error(
                    f"{subject} cannot be read as {'safetensors' if as_safetensors else 'weights'} ({_reason(error)}); "
                    f"it looks like {looks}; {_remedy(looks, as_safetensors, error)}"
                ) from None
            return _tensors(content, f"{subject} looks like {looks}, but")
    except OSError as error:
        raise _error(f"cannot read {path}: {error}; check the file and its permissions") from None


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load all of ``state`` into ``module``, or nothing.

    Only ``num_batches_tracked`` of batch normalisations may lack, as in files from before torch 0.4.1; they become zero,
    and matter for training alone.

    Args:
        module: changed in place; as it was if this fails.
        state: its tensors by name.
        source: what to call the state in an error, such as the path of its file.

    Raises:
        CheckpointError: names are missing, unexpected, or of another shape: how many, and the first 5 of each.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    wanted = dict(state)
    for name, value in own.items():
        if name.rpartition(".")[2] == "num_batches_tracked" and name not in wanted:
            wanted[name] = torch.zeros_like(value)
    before = {name: value.detach().clone() for name, value in own.items()}
    try:
        # Not refused by comparing names first: some modules, such as torchvision's ViT, take older names themselves.
        module.load_state_dict(wanted, strict=True)
    except Exception as error:  # whatever it is, the tensors before the one that failed are already overwritten
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(before[name])
        misfits = [
            f"{len(names)} {what} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
            for what, names in (
                ("missing", [name for name in own if name not in wanted]),
                ("unexpected", [name for name in wanted if name not in own]),
                (
                    "of another shape",
                    [
                        f"{name}: {_shape(wanted[name])} for {_shape(own[name])}"
                        for name in own
                        if name in wanted and _shape(wanted[name]) != _shape(own[name])
                    ],
                ),
            )
            if names
        ]
        raise _error(
            f"{source} does not fit {type(module).__name__}: {', '.join(misfits) or _reason(error)}; "
            "the architecture is probably another one: name the one that these weights were made for"
        ) from None


def read_safetensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file, after its hash if one is known.

    Args:
        path: the file.
        sha256: 64 hex digits it must have.

    Returns:
        Its tensors by name, floating point ones as float32, and its metadata.

    Raises:
        CheckpointError: missing, damaged, or not the file of that hash.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file {path}")
    if sha256 is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise CheckpointError(
                f"{path} is not the file that was published ({path.stat().st_size} bytes, SHA-256 {found[:16]}..., "
                f"expected {sha256[:16]}...); delete it and install the package again"
            )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file: {error}"
        ) from None
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}, metadata


class _DownloadError(Exception):
    """Says why; ``again`` if the same once more may help."""

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def _error(text: str) -> CheckpointError:
    """One line, whatever a file or a server has put into its names."""
    return CheckpointError("".join(c if c.isprintable() else " " for c in text))


def _checked_digest(digits: str) -> str:
    # An empty prefix would fit every file.
    if not re.fullmatch("[0-9a-fA-F]{8,64}", digits):
        raise _error(f"{digits!r} is not a SHA-256: give its 64 hex digits, or at least the first 8")
    return digits.lower()


# --- what a file is ---------------------------------------------------------------------------------------------------


def _difference(file: BufferedReader, sha256: str | None, size: int | None) -> str | None:
    """In what an open file is not the expected one; None if it is."""
    found = os.fstat(file.fileno()).st_size
    if size is not None and found != size:
        return f"{found} bytes, expected {size}"
    if sha256 is None:
        return None
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest.startswith(sha256.lower()) else _other_digest(digest, sha256)


def _other_digest(found: str, expected: str) -> str:
    return f"SHA-256 {found}, expected {expected}{'...' if len(expected) < 64 else ''}"


def _start_of(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(1024)


def _is_whole_zip(file: BinaryIO) -> bool:
    file.seek(0)
    return zipfile.is_zipfile(file)


def _looks_like(start: bytes, whole_zip: bool) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "an empty file"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--", b"<?xml")):
        return "an HTML page"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the file"
    if start.startswith(b"PK\x03\x04"):
        return "a zip file of torch.save" if whole_zip else "a zip file of torch.save that was cut short"
    if start.startswith(_OLD_FORMAT):
        return "a file of torch.save before 1.6"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
        return "a safetensors file"
    if start[:1] == b"\x80":
        return "a bare pickle"
    return f"no file of weights (it begins with {start[:8].hex()})"


def _remedy(looks: str, as_safetensors: bool, error: Exception) -> str:
    if looks == "a safetensors file" and not as_safetensors:
        return "let its name end with .safetensors"
    if "torch.save" in looks and "cut" not in looks and as_safetensors:
        return "let its name end with .pth"
    if looks == "a bare pickle":
        return "get a file of the state_dict's tensors alone"
    if "torch.save" in looks and "Unsupported operand" in str(error):
        return "have it saved again with torch's own pickle_protocol=2, or get it again if it should be so"
    return "it is no whole file of weights: get it again"


def _reason(error: Exception) -> str:
    """The first sentence of an error, without torch's advice to load the file unsafely."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    line = text.splitlines()[0] if text else ""
    if not line or "weights_only" in line:
        return type(error).__name__
    return f"{type(error).__name__}: {line.split('. ')[0][:200]}"


# --- reading ----------------------------------------------------------------------------------------------------------


def _load_tensors_only(file: IO[bytes]) -> object:
    with warnings.catch_warnings():  # of a strange file torch says much before it fails
        warnings.simplefilter("ignore")
        # mmap, which a user may have made the default, would need a path, and fails on the old format.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=False)


def _read_safetensors_in_order(path: Path) -> object:
    with safe_open(path, framework="pt") as file:
        names = getattr(file, "offset_keys", file.keys)()  # sorted by name before safetensors 0.5
        return {name: file.get_tensor(name) for name in names}


def _forbidden_globals(file: BinaryIO, error: Exception) -> list[str]:
    """What a pickle that torch refused would have used, the first 5."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    names: list[str] = []
    try:
        file.seek(0)
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # only for whole zip files of pickle protocol 2
        pass
    if not names:  # torch's message has the first at most, and none of a pickle protocol that it does not read
        names = [name.rstrip(".,") for name in re.findall(r"GLOBAL (\S+)", str(error))]
        names += sorted(
            name for name in _disassembled_globals(file) if name.split(".")[0] not in ("torch", "collections")
        )
        names = list(dict.fromkeys(names))
    return names[:5] + (["..."] if len(names) > 5 else [])


def _disassembled_globals(file: BinaryIO) -> set[str]:
    """The globals in the pickles that a file, or the ``data.pkl`` of a zip file, begins with; nothing is run."""
    names: set[str] = set()
    try:
        pickles: IO[bytes] = file
        if _is_whole_zip(file):
            with zipfile.ZipFile(file) as archive:
                pickles = BytesIO(archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl"))))
        pickles.seek(0)
        while True:  # the old format has four, then raw numbers, which end this
            strings, top = ["", ""], None
            memo: dict[object, object] = {}
            for opcode, argument, _ in pickletools.genops(pickles):
                if opcode.name == "GLOBAL":
                    names.add(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.add(".".join(strings[-2:]))
                elif opcode.name == "MEMOIZE" or "PUT" in opcode.name:
                    memo[len(memo) if argument is None else argument] = top
                    continue
                top = memo.get(argument) if "GET" in opcode.name else argument
                if isinstance(top, str):
                    strings.append(top)
    except Exception:  # at the end, at a cut, or no pickle: what was found until there counts
        return names


def _tensors(content: object, subject: str) -> dict[str, Tensor]:
    remedy = "get a file of the state_dict's tensors alone"
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping):
        raise _error(f"{subject} holds no dict of tensors: a {type(content).__name__}; {remedy}")
    others = [f"{name!r}: {type(value).__name__}" for name, value in content.items() if not isinstance(value, Tensor)]
    others += [f"the name {name!r}" for name in content if not isinstance(name, str)]
    if others or not content:
        what = ", ".join(others[:5])[:300] if others else "it is empty"
        raise _error(f"{subject} holds no dict of tensors ({what}); {remedy}")
    state = {name: value.detach() for name, value in content.items()}
    if all(name.startswith("module.") for name in state):
        consume_prefix_in_state_dict_if_present(state, "module.")
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


# --- the network ------------------------------------------------------------------------------------------------------


def _set_aside_if_wrong(path: Path, file: WeightsFile) -> str:
    """Move a cached file that is not the published one aside; where to, or nothing."""
    try:
        with path.open("rb") as cached:
            difference = _difference(cached, file.sha256, file.size)
            seen = os.fstat(cached.fileno())
        if difference is None:
            return ""
        aside, count = path.with_name(f"{path.name}.damaged"), 1
        while os.path.lexists(aside):
            count += 1
            aside = path.with_name(f"{path.name}.{count}.damaged")
        if not os.path.samestat(seen, path.stat()):  # meanwhile another process has put a new one there
            return _set_aside_if_wrong(path, file)
        os.replace(path, aside)
    except FileNotFoundError:  # not there, or another process has moved it aside
        return ""
    print(f"{path} is not the published file ({difference}); moved to {aside.name}", file=sys.stderr, flush=True)
    return f"{difference}; now {aside.name}"


def _announce(file: WeightsFile) -> None:
    size = "" if file.size is None else f" ({file.size / 1e6:.1f} MB)"
    licence = f", licence: {file.licence}" if file.licence else ""
    print(f"downloading {file.name}{size} from {file.url}{licence}", file=sys.stderr, flush=True)


def _download(file: WeightsFile, out: BinaryIO) -> None:
    """Stream the file into ``out`` and check it; OSError comes from ``out`` only."""
    digest, start, count, announced = hashlib.sha256(), b"", 0, None
    try:
        response = _opener().open(file.url, timeout=SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise _DownloadError(f"{file.url} answered {error.code} {error.reason}", again=False) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _DownloadError(f"cannot reach {file.url} ({reason or type(error).__name__})", again=False) from None
    with response:
        length = response.headers.get("Content-Length")
        announced = int(length) if length and length.isdecimal() else None
        while True:
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _DownloadError(
                    f"{file.url} broke off after {count} bytes ({error or type(error).__name__})", again=count > 0
                ) from None
            if not chunk:
                break
            start = start or chunk[:1024]
            count += len(chunk)
            digest.update(chunk)
            if file.size is not None and count > file.size:
                break  # it may never end
            out.write(chunk)
    found = digest.hexdigest()
    expected_size = file.size if file.size is not None else announced
    if expected_size is not None and count < expected_size:
        fault = f"was cut short, {count} of {expected_size} bytes"
    elif file.size is not None and count > file.size:
        fault = f"sent more than the expected {file.size} bytes"
    elif not found.startswith(file.sha256.lower()):
        fault = f"sent another file of {count} bytes"
    else:
        return
    raise _DownloadError(
        f"{file.url} {fault} (what came looks like {_looks_like(start, True)}; {_other_digest(found, file.sha256)})",
        again=True,
    )


def _may_be_visited(url: str) -> bool:
    """https anywhere; http within this machine only, where nobody sits between."""
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(url)))
    except ValueError:
        return False


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Run ``work`` for at most so long; a look-up of a name heeds no timeout, and each address has its own."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no connection within {seconds:g} s")
    if failures:
        raise failures[0]


class _HTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        _within(CONNECT_SECONDS, super().connect)


class _HTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        _within(CONNECT_SECONDS, super().connect)


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPConnection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HTTPSConnection, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not _may_be_visited(newurl):
            raise _DownloadError(
                f"{req.full_url} redirects to {newurl}, which is neither https nor this machine: not followed",
                again=False,
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Proxies(urllib.request.ProxyHandler):
    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> http.client.HTTPResponse | None:
        # Plain http is allowed because it stays here; a proxy would carry it out.
        return None if _is_loopback(req.full_url) else super().proxy_open(req, proxy, type)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Proxies, _HTTPHandler, _HTTPSHandler, _Redirects)
