"""Downloads from a real server on this machine, into a cache of their own, with everything that can go wrong."""

import hashlib
import http.server
import multiprocessing
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_fv.errors import CheckpointError
from lightning_fv.networks import download
from lightning_fv.networks.download import WeightsFile, cache_folder, fetch, hash_in_name
from lightning_fv.networks.weights import read_weights
from tests.helpers import TinyNet
from tests.networks.test_weights import FLIPPED, GOOD, HTML, one_line


class Server(http.server.ThreadingHTTPServer):
    """Answers the n-th request as the n-th of ``answers`` says, and all later ones as the last; counts the requests."""

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
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def published(url: str, content: bytes = GOOD, digits: int = 64, **more: str) -> WeightsFile:
    return WeightsFile(url, hashlib.sha256(content).hexdigest()[:digits], len(content), **more)


def test_the_cache_is_torchs(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/torch/hub/checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/torch/hub/checkpoints"


@pytest.mark.parametrize("digest", ["", "abcdef0", "g" * 64, "0" * 65, "0" * 64 + "\n"])
def test_invalid_digests(digest: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="64 hex digits"):
        WeightsFile("https://example.invalid/net.pth", digest)
    (tmp_path / "net.pth").write_bytes(GOOD)
    with pytest.raises(CheckpointError, match="64 hex digits"):
        read_weights(tmp_path / "net.pth", digest)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.invalid/net.pth",
        "http://127.0.0.1@example.invalid/net.pth",
        "http://127.0.0.1.example.invalid/net.pth",
        "http://127.0.0.1:80@example.invalid/net.pth",
        "ftp://127.0.0.1/net.pth",
        "file:///etc/passwd",
        "https:///net.pth",
        "http://[::1/net.pth",
        "net.pth",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(CheckpointError, match="neither https nor on this machine"):
        published(url)


@pytest.mark.parametrize("url", ["https://a.b/..", "https://a.b/", "https://[::1/net.pth", "https://a.b/a\0b"])
def test_urls_of_no_file_are_one_line(cache: Path, url: str) -> None:
    with pytest.raises(CheckpointError) as error:
        fetch(published(url))
    one_line(error, "https://")
    assert list(cache.iterdir()) == []


def test_hashes_in_names() -> None:
    assert hash_in_name("https://a.b/c-d/resnet50-0676ba61.pth") == "0676ba61"
    assert hash_in_name("https://a.b/resnet50-shape-c8e5653e.pth.tar") == "c8e5653e"
    for url in (
        "https://a.b/resnet50.pth",
        "https://a.b/0676ba61-0676ba61/resnet-50.pth",
        "https://a.b/net-0676ba6.pth",
    ):
        with pytest.raises(CheckpointError, match="no hash in its name"):
            hash_in_name(url)


@pytest.mark.parametrize("digits", [8, 64])
@pytest.mark.parametrize("answer", ["right", "redirect"])
def test_the_right_file_is_downloaded_once(
    server: Server, cache: Path, capsys: pytest.CaptureFixture[str], digits: int, answer: str
) -> None:
    server.answers = ["right"] if answer == "right" else [server.url("elsewhere"), "right"]
    file = published(server.url(), digits=digits, licence="CC BY-NC-SA 4.0", citation="R. Zhang")
    cache.rmdir()  # made when needed
    path = fetch(file)
    assert path == cache / "net.pth"
    assert path.read_bytes() == GOOD
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    for part in (file.url, "MB", "CC BY-NC-SA 4.0", "R. Zhang"):
        assert part in err
    requests = server.requests
    for offline in (False, True):
        assert fetch(file, offline) == path
    assert server.requests == requests
    assert capsys.readouterr() == ("", "")
    assert list(cache.iterdir()) == [path]
    assert read_weights(path, file.sha256).keys() == TinyNet().state_dict().keys()


def test_digits_may_be_capital(server: Server) -> None:
    file = published(server.url())
    assert fetch(WeightsFile(file.url, file.sha256.upper())).read_bytes() == GOOD


def test_the_licence_is_printed_before_the_download(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers = ["missing"]
    with pytest.raises(CheckpointError):
        fetch(published(server.url(), licence="CC BY-NC-SA 4.0"))
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().err


@pytest.mark.parametrize("digits", [8, 64])
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("cut", "invalid hash"),
        ("cut unannounced", "invalid hash"),
        ("wrong", hashlib.sha256(FLIPPED).hexdigest()),
        ("html", "invalid hash"),
        ("empty", "invalid hash"),
        ("long", "invalid hash"),
        ("half then stalled", "timed out"),
        ("stalled", "timed out"),
        ("missing", "404"),
        ("file:///etc/passwd", "302"),
    ],
)
def test_failed_downloads_leave_nothing(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, digits: int, answer: str, part: str
) -> None:
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.5)
    server.answers = [answer]
    with pytest.raises(CheckpointError) as error:
        fetch(published(server.url(), digits=digits))
    one_line(error, server.url(), cache / "net.pth", part)
    assert list(cache.iterdir()) == []
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("damage", [FLIPPED, GOOD[:-1], b"", HTML])
def test_a_wrong_cached_file_is_never_used(
    server: Server, cache: Path, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    file = published(server.url())
    path = cache / "net.pth"
    path.write_bytes(damage)
    with pytest.raises(CheckpointError) as error:
        fetch(file, offline=True)
    one_line(error, f"{path} is not the published file", hashlib.sha256(damage).hexdigest(), file.url)
    server.answers = ["missing", "right"]
    with pytest.raises(CheckpointError, match="404"):
        fetch(file)
    assert path.read_bytes() == damage
    capsys.readouterr()
    assert fetch(file).read_bytes() == GOOD
    assert f"{path} is not the published file" in capsys.readouterr().err
    assert list(cache.iterdir()) == [path]


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_opens_no_socket(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="offline") as error:
        fetch(published(server.url()), offline=how == "argument")
    one_line(error, server.url(), cache / "net.pth", "missing")
    assert server.requests == 0
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("kind", ["closed", "never accepts", "no TLS"])
def test_an_unreachable_host_is_reported_soon(cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4 if kind == "never accepts" else 0)]
        if kind != "closed":
            listener.listen(2 if kind == "no TLS" else 0)
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
    one_line(error, f"cannot download {url}", cache / "net.pth", "refused" if kind == "closed" else "timed out")
    assert seconds < 2
    assert list(cache.iterdir()) == []


def test_a_host_without_an_address(cache: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        fetch(published("https://example.invalid/net.pth"))
    one_line(error, "cannot download https://example.invalid/net.pth", cache / "net.pth")


def test_a_proxy_is_used_and_no_direct_connection_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # urllib reads the proxies of a process once
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", server.url(""))
        assert fetch(published(f"http://127.0.0.1:{unused.getsockname()[1]}/net.pth")).read_bytes() == GOOD


def test_limits_of_waiting() -> None:
    assert download.CONNECT_SECONDS <= 5
    assert download.SILENCE_SECONDS <= 10


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
