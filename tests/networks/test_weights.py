"""Weights from the network, the cache and the disk, with real files, a real server, and everything that can be wrong."""

import hashlib
import http.server
import io
import multiprocessing
import os
import pickle
import socket
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.vision_transformer import MLPBlock

from lightning_fv.errors import CheckpointError
from lightning_fv.networks import weights
from lightning_fv.networks.weights import WeightsFile, cache_folder, fetch, load_strictly, read_weights
from tests.helpers import TinyNet


def torch_bytes(content: object, old_format: bool = False, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=not old_format)
    return buffer.getvalue()


GOOD = torch_bytes(TinyNet().state_dict())
FLIPPED = GOOD[:1000] + bytes([GOOD[1000] ^ 1]) + GOOD[1001:]
HTML = b"<!DOCTYPE html>\n<html>you must log in</html>" * 40


class Server(http.server.ThreadingHTTPServer):
    """Answers the n-th request as the n-th of ``answers`` says, the last one for ever; counts the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = ["right"]
        self.requests = 0
        self.counting = threading.Lock()
        self.meeting = threading.Barrier(2)
        self.closing = threading.Event()

    def url(self, name: str = "net.pth") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        with server.counting:
            answer = server.answers[min(server.requests, len(server.answers) - 1)]
            server.requests += 1
        if answer == "meet":
            server.meeting.wait(10)
        elif answer == "stalled":
            server.closing.wait(20)
            return
        elif answer == "missing":
            self.send_error(404)
            return
        elif answer.startswith(("http:", "https:", "file:")):
            self.send_response(302)
            self.send_header("Location", answer)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = {"html": HTML, "wrong": FLIPPED, "long": GOOD + b"more", "empty": b""}.get(answer, GOOD)
        self.send_response(200)
        if answer != "cut unannounced":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if "cut" in answer or "then" in answer else body)
        if answer == "half then stalled":
            self.wfile.flush()
            server.closing.wait(20)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    folder = tmp_path / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def published(url: str, content: bytes = GOOD, digits: int = 64, size: bool = True, **more: str) -> WeightsFile:
    digest = hashlib.sha256(content).hexdigest()[:digits]
    return WeightsFile(url, "net.pth", digest, len(content) if size else None, **more)


def one_line(error: pytest.ExceptionInfo[CheckpointError], *parts: object) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 1000
    for part in parts:
        assert str(part) in text
    return text


# --- fetch ------------------------------------------------------------------------------------------------------------


def test_the_cache_is_torchs(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/torch/hub/checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/torch/hub/checkpoints"


@pytest.mark.parametrize("digest", ["", "abcdef0", "g" * 64, "0" * 65, "0" * 64 + "\n"])
def test_what_is_no_digest(digest: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="64 hex digits"):
        WeightsFile("https://example.invalid", "net.pth", digest)
    (tmp_path / "net.pth").write_bytes(GOOD)
    with pytest.raises(CheckpointError, match="64 hex digits"):
        read_weights(tmp_path / "net.pth", digest)


@pytest.mark.parametrize("name", ["", ".", "..", "../net.pth", "/net.pth", "a\\b", "a\0b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(CheckpointError, match="plain file name"):
        WeightsFile("https://example.invalid", name, "0" * 64)


@pytest.mark.parametrize("digits", [8, 64])
@pytest.mark.parametrize("size", [True, False])
@pytest.mark.parametrize("answer", ["right", "redirect"])
def test_a_right_file_is_fetched_once(
    server: Server, cache: Path, capsys: pytest.CaptureFixture[str], digits: int, size: bool, answer: str
) -> None:
    server.answers = ["right"] if answer == "right" else [server.url("elsewhere"), "right"]
    file = published(server.url(), digits=digits, size=size, licence="CC BY-NC-SA 4.0")
    assert file.digest_is_whole == (digits == 64)
    cache.rmdir()  # made when needed
    path = fetch(file)
    assert path == cache / "net.pth"
    assert path.read_bytes() == GOOD
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "net.pth" in err
    assert "CC BY-NC-SA 4.0" in err
    assert ("MB" in err) == size
    requests = server.requests
    for offline in (False, True):
        assert fetch(file, offline) == path
    assert server.requests == requests
    assert capsys.readouterr() == ("", "")
    assert list(cache.iterdir()) == [path]
    assert read_weights(path, file.sha256, file.size).keys() == TinyNet().state_dict().keys()


@pytest.mark.parametrize(
    ("answer", "requests", "parts"),
    [
        ("cut", 2, ["cut short, "]),
        ("cut unannounced", 2, ["cut short, "]),
        ("wrong", 2, ["another file", hashlib.sha256(FLIPPED).hexdigest(), hashlib.sha256(GOOD).hexdigest()]),
        ("html", 2, ["HTML page"]),
        ("empty", 2, ["an empty file"]),
        ("long", 2, ["more than the expected"]),
        ("half then stalled", 2, ["broke off after"]),
        ("stalled", 1, ["timed out"]),
        ("missing", 1, ["404"]),
        ("http://example.invalid/net.pth", 1, ["redirects to http://example.invalid/net.pth", "not followed"]),
        ("file:///etc/passwd", 1, ["302"]),
    ],
)
def test_what_is_not_the_file_leaves_nothing(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, answer: str, requests: int, parts: list[str]
) -> None:
    monkeypatch.setattr(weights, "SILENCE_SECONDS", 0.5)
    server.answers = [answer]
    with pytest.raises(CheckpointError) as error:
        fetch(published(server.url()))
    one_line(error, server.url(), cache / "net.pth", *parts)
    assert server.requests == requests
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("answer", ["wrong", "html", "cut", "cut unannounced"])
def test_neither_size_nor_whole_digest_is_needed_to_refuse(server: Server, cache: Path, answer: str) -> None:
    server.answers = [answer]
    with pytest.raises(CheckpointError) as error:
        fetch(published(server.url(), digits=8, size=False))
    one_line(error, server.url(), hashlib.sha256(GOOD).hexdigest()[:8] + "...")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("first", ["cut", "cut unannounced", "wrong", "html"])
def test_one_more_try_after_a_bad_download(server: Server, cache: Path, first: str) -> None:
    server.answers = [first, "right"]
    assert fetch(published(server.url())).read_bytes() == GOOD
    assert server.requests == 2
    assert [p.name for p in cache.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("damage", [FLIPPED, GOOD[:-1], b"", HTML])
def test_a_cached_file_that_was_changed_is_set_aside(
    server: Server, cache: Path, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    file = published(server.url())
    path = fetch(file)
    for name in ("net.pth.damaged", "net.pth.2.damaged"):
        path.write_bytes(damage)
        capsys.readouterr()
        assert fetch(file).read_bytes() == GOOD
        assert (cache / name).read_bytes() == damage
        assert f"moved to {name}" in capsys.readouterr().err
    assert server.requests == 3
    path.write_bytes(damage)
    with pytest.raises(CheckpointError) as error:
        fetch(file, offline=True)
    one_line(error, "not the published file", "net.pth.3.damaged", file.url, path)
    assert not path.exists()
    assert all(p.read_bytes() == damage for p in cache.iterdir())


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_opens_no_socket(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    with pytest.raises(CheckpointError, match="offline") as error:
        fetch(published(server.url()), offline=how == "argument")
    one_line(error, server.url(), cache / "net.pth")
    assert time.monotonic() - start < 5
    assert server.requests == 0
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("kind", ["closed", "never accepts", "no TLS"])
def test_no_network_is_said_soon(cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(weights, "CONNECT_SECONDS", 0.5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4 if kind == "never accepts" else 0)]
        if kind != "closed":
            listener.listen(0)
        for client in waiting:  # a full queue: the next one gets no answer at all
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        url = f"{'https' if kind == 'no TLS' else 'http'}://127.0.0.1:{port}/net.pth"
        start = time.monotonic()
        with pytest.raises(CheckpointError) as error:
            fetch(published(url))
        seconds = time.monotonic() - start
        for client in waiting:
            client.close()
    one_line(error, f"cannot reach {url}", cache / "net.pth", "refused" if kind == "closed" else "no connection within")
    assert seconds < 2
    assert list(cache.iterdir()) == []


def test_the_limits_keep_to_five_seconds() -> None:
    assert weights.CONNECT_SECONDS < 5
    assert weights.SILENCE_SECONDS <= 5


@pytest.mark.parametrize(
    "url",
    [
        "http://example.invalid/net.pth",
        "http://127.0.0.1@example.invalid/net.pth",
        "http://127.0.0.1.example.invalid/net.pth",
        "ftp://127.0.0.1/net.pth",
        "file:///etc/passwd",
        "https:///net.pth",
        "http://[::1/net.pth",
        "net.pth",
    ],
)
def test_addresses_that_are_not_visited(cache: Path, url: str) -> None:
    with pytest.raises(CheckpointError, match="neither https nor this machine"):
        fetch(published(url))
    assert list(cache.iterdir()) == []


def test_loopback_goes_through_no_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(published(server.url())).read_bytes() == GOOD


def test_two_processes_at_once(server: Server, cache: Path) -> None:
    server.answers = ["meet"]  # neither gets anything before both have asked
    context = multiprocessing.get_context("fork")
    file = published(server.url())
    processes = [context.Process(target=fetch, args=(file,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.requests == 2
    assert [p.name for p in cache.iterdir()] == ["net.pth"]
    assert (cache / "net.pth").read_bytes() == GOOD


def test_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    cache.rmdir()
    cache.write_text("a file")
    with pytest.raises(CheckpointError) as error:
        fetch(published(server.url()))
    one_line(error, cache / "net.pth", "TORCH_HOME")
    assert cache.read_text() == "a file"


# --- files that want more than tensors --------------------------------------------------------------------------------


class Evil:
    def __init__(self, path: Path, function: Callable[..., object]) -> None:
        self.path, self.function = path, function

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, (f"touch {self.path}" if self.function is os.system else str(self.path),)


EVIL = {
    "zip": (lambda c: torch_bytes(c), os.mkdir, "posix.mkdir"),
    "zip, blocked module": (lambda c: torch_bytes(c), os.system, "posix.system"),
    "old format": (lambda c: torch_bytes(c, old_format=True), os.system, "posix.system"),
    "newer pickle": (lambda c: torch_bytes(c, protocol=4), os.system, "posix.system"),
    "bare pickle": (lambda c: pickle.dumps(c, protocol=2), os.system, "posix.system"),
    "bare newer pickle": (pickle.dumps, os.system, "posix.system"),
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_evil_file_in_the_cache_is_never_run(server: Server, cache: Path, tmp_path: Path, kind: str) -> None:
    dump, function, name = EVIL[kind]
    touched = tmp_path / "touched"
    evil = dump({"state_dict": {**TinyNet().state_dict(), "x": Evil(touched, function)}})
    path = cache / "net.pth"
    path.write_bytes(evil)
    file = published(server.url())

    with pytest.raises(CheckpointError, match="not the published file") as error:
        read_weights(path, file.sha256)
    one_line(error, path, hashlib.sha256(evil).hexdigest(), file.sha256)
    with pytest.raises(CheckpointError, match="wants more than tensors") as error:
        read_weights(path)
    one_line(error, path, f"{len(evil)} bytes", name, "not run")
    assert fetch(file).read_bytes() == GOOD
    assert (cache / "net.pth.damaged").read_bytes() == evil
    assert not touched.exists()


def test_evil_was_evil(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for function in (os.system, os.mkdir):
        torch.load(io.BytesIO(torch_bytes(Evil(touched, function))), weights_only=False)
        assert touched.exists()
        touched.unlink() if touched.is_file() else touched.rmdir()


def test_the_variable_that_makes_torch_careless_is_no_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "net.pth"
    path.write_bytes(torch_bytes({"x": Evil(tmp_path / "touched", os.system)}))
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        read_weights(path)
    assert not (tmp_path / "touched").exists()


def test_a_pickled_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(TinyNet(), path)
    with pytest.raises(CheckpointError, match=r"tests\.helpers\.TinyNet") as error:
        read_weights(path)
    assert "weights_only=False" not in one_line(error, path)


# --- read_weights -----------------------------------------------------------------------------------------------------


def prefixed(state: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((f"module.{name}", value) for name, value in state.items())


def as_stylized_imagenet(network: nn.Module) -> bytes:
    """As Geirhos et al. 2019 saved theirs: DataParallel, optimizer, old format."""
    network.train().requires_grad_(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 60,
        "arch": "resnet50",
        "state_dict": nn.DataParallel(network).state_dict(),
        "best_prec1": torch.tensor(60.2),
        "optimizer": optimizer.state_dict(),
    }
    return torch_bytes(content, old_format=True)


def test_a_file_as_of_stylized_imagenet(tmp_path: Path) -> None:
    network = TinyNet()
    content = as_stylized_imagenet(network)
    path = tmp_path / "net.pth.tar"
    path.write_bytes(content)
    state = read_weights(path, hashlib.sha256(content).hexdigest()[:8], len(content))
    assert type(state) is dict
    assert not hasattr(state, "_metadata")
    assert list(state) == list(network.state_dict())
    assert not any(value.requires_grad for value in state.values())
    other = TinyNet(seed=1)
    load_strictly(other, state, str(path))
    torch.testing.assert_close(other.state_dict(), network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda s: s, ["b", "a.w", "n"]),
        (lambda s: {"state_dict": s}, ["b", "a.w", "n"]),
        (lambda s: {"model": s, "epoch": 3}, ["b", "a.w", "n"]),
        (lambda s: {"model": prefixed(s)}, ["b", "a.w", "n"]),
        (lambda s: {**s, "module.c": s["b"]}, ["b", "a.w", "n", "module.c"]),
    ],
)
@pytest.mark.parametrize("old_format", [False, True])
def test_wrappings(tmp_path: Path, wrap: Callable[[object], object], names: list[str], old_format: bool) -> None:
    state = {"b": torch.rand(3).half(), "a.w": nn.Parameter(torch.rand(2, 3).double()), "n": torch.tensor(7)}
    path = tmp_path / "net.pt"
    path.write_bytes(torch_bytes(wrap(state), old_format))
    found = read_weights(path)
    assert list(found) == names
    assert type(found["a.w"]) is Tensor
    for name, value in state.items():
        torch.testing.assert_close(found[name], value.float() if name != "n" else value, rtol=0, atol=0)


def test_safetensors(tmp_path: Path) -> None:
    state = {f"module.{name}": torch.rand(3) for name in "cab"} | {"module.h": torch.rand(2).bfloat16()}
    path = tmp_path / "net.safetensors"
    save_file(state, path)
    found = read_weights(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert set(found) == set("cabh")
    for name, value in found.items():
        torch.testing.assert_close(value, state[f"module.{name}"].float(), rtol=0, atol=0)


OLD = torch_bytes(prefixed(TinyNet().state_dict()), old_format=True)


def safetensors_bytes(folder: Path) -> bytes:
    save_file(TinyNet().state_dict(), folder / "made.safetensors")
    return (folder / "made.safetensors").read_bytes()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "an empty file"),
        (HTML, "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"nothing that is known", "no file of weights"),
        (GOOD[: len(GOOD) // 2], "a zip file of torch.save that was cut short"),
        (GOOD[:-30], "a zip file of torch.save that was cut short"),
        (OLD[: len(OLD) // 2], "a file of torch.save before 1.6"),
        (OLD[:40], "a file of torch.save before 1.6"),
        (OLD[:-1], "a file of torch.save before 1.6"),
        (pickle.dumps({"a": 1}), "a bare pickle"),
        (pickle.dumps({"a": 1}, protocol=2), "a bare pickle"),
        ("safetensors", "a safetensors file"),
        ("safetensors header", "a safetensors file"),
    ],
)
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes | str, looks: str) -> None:
    if isinstance(content, str):
        content = safetensors_bytes(tmp_path)[: 60 if "header" in content else -1]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    text = one_line(error, path, f"{len(content)} bytes", looks)
    assert ";" in text  # the remedy
    assert "weights_only" not in text
    with pytest.raises(CheckpointError) as error:
        read_weights(path, hashlib.sha256(GOOD).hexdigest(), len(GOOD))
    one_line(error, path, f"{len(content)} bytes, expected {len(GOOD)}", looks)


@pytest.mark.parametrize("end", [".pth", ".safetensors"])
def test_a_wrong_ending_is_said(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"net{end}"
    path.write_bytes(GOOD if end == ".safetensors" else safetensors_bytes(tmp_path))
    with pytest.raises(CheckpointError, match="let its name end with"):
        read_weights(path)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.pth"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    one_line(error, f"no weights file {path}")


@pytest.mark.parametrize("make", [lambda folder: GOOD, lambda folder: OLD, safetensors_bytes])
@pytest.mark.parametrize("digits", [8, 64])
def test_any_flipped_byte_is_found_by_digest(tmp_path: Path, make: Callable[[Path], bytes], digits: int) -> None:
    content = make(tmp_path)
    path = tmp_path / ("net.safetensors" if make is safetensors_bytes else "net.pth")
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()[:digits].upper()
    read_weights(path, digest, len(content))
    for position in torch.randint(len(content), (10,), generator=torch.Generator().manual_seed(0)).tolist():
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(CheckpointError, match="not the published file"):
            read_weights(path, digest, len(content))


@pytest.mark.parametrize("content", [GOOD, OLD])
def test_garbage_without_a_digest_is_one_line_or_tensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pth"
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        damaged = bytearray(content)
        for position in torch.randint(min(len(content), 3000), (3,), generator=generator).tolist():
            damaged[position] = int(torch.randint(256, (), generator=generator))
        path.write_bytes(damaged)
        try:
            state: dict[str, Tensor] | str = read_weights(path)
        except CheckpointError as error:
            state = str(error)
        assert isinstance(state, dict) or (str(path) in state and "\n" not in state)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (torch.rand(3), "a Tensor"),
        ([torch.rand(3)], "a list"),
        ({}, "it is empty"),
        ({"epoch": 3, "w": torch.rand(3)}, "'epoch': int"),
        ({"state_dict": {"w": "text"}}, "'w': str"),
        ({1: torch.rand(3)}, "the name 1"),
        ({"a\nb": 3}, "'a\\nb': int"),
    ],
)
def test_no_dict_of_tensors(tmp_path: Path, content: object, what: str) -> None:
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    one_line(error, path, "no dict of tensors", what)


def test_a_newer_pickle_without_evil_is_not_called_evil(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(torch_bytes(TinyNet().state_dict(), protocol=4))
    with pytest.raises(CheckpointError, match="pickle_protocol=2") as error:
        read_weights(path)
    assert "wants more" not in one_line(error, path)


def test_a_torchscript_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", pickle.dumps((), protocol=2))
        archive.writestr("net/data.pkl", pickle.dumps((), protocol=2))
        archive.writestr("net/version", "3\n")
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    one_line(error, path)


# --- load_strictly ----------------------------------------------------------------------------------------------------


def test_old_batch_norms_load() -> None:
    network = TinyNet()
    network.bn.num_batches_tracked += 5
    state = {name: value.clone() for name, value in TinyNet(seed=1).state_dict().items() if "num_batches" not in name}
    names = list(state)
    load_strictly(network, state, "old.pth")
    assert list(state) == names
    assert network.bn.num_batches_tracked == 0
    torch.testing.assert_close({n: network.state_dict()[n] for n in names}, state, rtol=0, atol=0)


def test_names_that_a_module_converts_itself() -> None:
    """torchvision published its ViT before it renamed these layers."""
    block = MLPBlock(4, 8, 0.0)
    state = {
        f"linear_{i}.{n}": torch.rand_like(getattr(block[3 * i - 3], n)) for i in (1, 2) for n in ("weight", "bias")
    }
    load_strictly(block, state, "vit.pth")
    torch.testing.assert_close(block[3].weight, state["linear_2.weight"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: s.pop("conv2.bias"), ["1 missing (conv2.bias)"]),
        (lambda s: s.update(x=torch.rand(1), y=torch.rand(1)), ["2 unexpected (x, y)"]),
        (lambda s: s.update({"conv1.weight": torch.rand(8, 3, 5, 5)}), ["conv1.weight: (8, 3, 5, 5) for (8, 3, 3, 3)"]),
        (lambda s: s.update({"conv2.bias": "no tensor"}), ["conv2.bias: str for (5,)"]),
        (lambda s: s.update({f"layer.{i}": torch.rand(1) for i in range(7)}), ["7 unexpected", "layer.4, ...)"]),
        (lambda s: s.clear(), ["8 missing (conv1.weight, conv1.bias, bn.weight, bn.bias, bn.running_mean, ...)"]),
        (
            lambda s: (s.pop("bn.bias"), s.update({"z": torch.rand(1), "conv2.bias": torch.rand(6)})),
            ["1 missing", "1 unexpected", "1 of another shape"],
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(change: Callable[[dict[str, Tensor]], object], parts: list[str]) -> None:
    network = TinyNet().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = {name: torch.rand_like(value, dtype=torch.float32) for name, value in before.items()}
    change(state)
    with pytest.raises(CheckpointError) as error:
        load_strictly(network, state, "mine.pth")
    one_line(error, "mine.pth does not fit TinyNet", "another one", *parts)
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
