"""Families of timm, untrained; skipped where the extra is not installed."""

import hashlib
import http.server
import socket
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lightning_fv import load_network
from lightning_fv.errors import CheckpointError, NetworkError
from tests.networks.matrix import check

timm = pytest.importorskip("timm")
huggingface_hub = pytest.importorskip("huggingface_hub")

QUICK = ("convnext_atto", "vit_tiny_patch16_224", "mobilenetv3_small_050", "resnet18")
SLOW = (
    "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "efficientnet_b0", "mixer_s32_224", "regnetx_002",
    "densenet121", "eva02_tiny_patch14_224", "beit_base_patch16_224", "vit_base_patch32_clip_224", "mambaout_femto",
)  # fmt: skip


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_family(name: str) -> None:
    torch.manual_seed(0)
    network = load_network(f"timm/{name}", None)
    check(network, network.input_size if network.fixed_size else (96, 77), steps=10)


def test_preprocessing_is_the_networks_own() -> None:
    clip = timm.get_pretrained_cfg("vit_base_patch32_clip_224")
    vit = load_network("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", None)
    assert vit.mean == (0.5, 0.5, 0.5) != tuple(clip.mean)
    assert vit.fixed_size
    assert vit(torch.rand(1, 3, 50, 70)).shape == (1, 1000)
    assert vit.categories[963] == "pizza"


def test_names_and_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with pytest.raises(NetworkError, match=r"did you mean \w+, \w+"):
        load_network("timm/resnet18x", None)
    with pytest.raises(CheckpointError, match="--weights"):
        load_network("timm/convnext_atto.d2_in1k", offline=True)


def test_a_local_file(tmp_path: object) -> None:
    network = load_network("timm/convnext_atto", None)
    file = f"{tmp_path}/mine.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.module.state_dict().items()}}, file)
    assert load_network("timm/convnext_atto", file).digest() == network.digest()


NAME = "convnext_atto.d2_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for the hub's client, which reads its environment when it is imported and its constants later."""
    for name in ("HF_HUB_OFFLINE", "http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def weights() -> tuple[bytes, str]:
    """A file of untrained weights, and the digest of its network."""
    network = load_network("timm/convnext_atto", None)
    return save({k: v.contiguous() for k, v in network.module.state_dict().items()}), network.digest()


def test_the_hubs_cache_is_read_and_checked(hub: Path, weights: tuple[bytes, str]) -> None:
    """A cache as the hub's client lays it out: blobs named by their SHA-256, and links to them."""
    content, digest = weights
    sha256 = hashlib.sha256(content).hexdigest()
    repository = hub / f"models--timm--{NAME}"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    blob = repository / "blobs" / sha256
    blob.write_bytes(content)
    (repository / "snapshots" / COMMIT / "model.safetensors").symlink_to(f"../../blobs/{sha256}")
    assert load_network(f"timm/{NAME}", offline=True).digest() == digest

    # A cache that shares equal files of several repositories: the blob is a link, to a file named by another hash.
    shared = hub / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(f"../../blobs/ab/{shared.name}")
    assert load_network(f"timm/{NAME}", offline=True).digest() == digest

    changed = bytearray(content)
    changed[-1] ^= 1
    shared.write_bytes(changed)
    with pytest.raises(CheckpointError, match="is not the published file") as error:
        load_network(f"timm/{NAME}")
    assert str(error.value).startswith(f"{blob} (")


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as its client needs to download one file."""

    content = b""

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        found = self.path == f"/timm/{NAME}/resolve/main/model.safetensors"
        self.send_response(200 if found else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)


def test_a_download_from_the_hub(
    hub: Path, weights: tuple[bytes, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, digest = weights
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Hub,), {"content": content})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        assert load_network(f"timm/{NAME}").digest() == digest
        assert "licence: apache-2.0" in capsys.readouterr().err
        server.shutdown()
        thread.join()
    assert load_network(f"timm/{NAME}", offline=True).digest() == digest


@pytest.mark.parametrize("offline", [True, False])
def test_no_hub_is_one_line(hub: Path, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        use_hub(monkeypatch, address)
        with pytest.raises(CheckpointError, match="offline" if offline else "refused") as error:
            load_network(f"timm/{NAME}")
    assert f"{address}/timm/{NAME}/resolve/main/model.safetensors" in str(error.value)
    assert "--weights" in str(error.value)
    assert "\n" not in str(error.value)
