"""Families of timm, untrained; skipped where the extra is not installed."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lightning_fv import load_network
from lightning_fv.errors import CheckpointError, NetworkError
from tests.networks.matrix import check
from tests.processes import run_python

timm = pytest.importorskip("timm")

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
    with pytest.raises(NetworkError, match="did you mean"):
        load_network("timm/resnet18x", None)
    with pytest.raises(CheckpointError, match="--weights"):
        load_network("timm/convnext_atto.d2_in1k", offline=True)


def test_a_local_file(tmp_path: object) -> None:
    network = load_network("timm/convnext_atto", None)
    file = f"{tmp_path}/mine.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.module.state_dict().items()}}, file)
    assert load_network("timm/convnext_atto", file).digest() == network.digest()


def test_the_hubs_cache_is_read_and_checked(tmp_path: Path) -> None:
    """A cache as the hub's client lays it out: blobs named by their SHA-256, and links to them."""
    network = load_network("timm/convnext_atto", None)
    content = save({k: v.contiguous() for k, v in network.module.state_dict().items()})
    digest = hashlib.sha256(content).hexdigest()
    repository = tmp_path / "hub" / "models--timm--convnext_atto.d2_in1k"
    commit = "0123456789abcdef0123456789abcdef01234567"
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "blobs" / digest).write_bytes(content)
    (repository / "snapshots" / commit / "model.safetensors").symlink_to(f"../../blobs/{digest}")
    code = "import lightning_fv; print(lightning_fv.load_network('timm/convnext_atto.d2_in1k', offline=True).digest())"
    home = str(tmp_path)
    done = run_python("-c", code, HF_HOME=home)
    assert done.returncode == 0, done.error_output
    assert done.output.strip() == network.digest()
    changed = bytearray(content)
    changed[-1] ^= 1
    (repository / "blobs" / digest).write_bytes(changed)
    refused = run_python("-c", code, HF_HOME=home).error_output
    assert "CheckpointError" in refused
    assert "not the file that the hub published" in refused
