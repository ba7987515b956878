import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import lightning_fv
from lightning_fv import load_network, resolve_targets
from lightning_fv.commands.main import main
from lightning_fv.errors import FeatureVisualizationError, TargetError
from lightning_fv.networks.sparse_autoencoder import EMBEDDED, read_sparse_autoencoder
from lightning_fv.objectives import SAELatent
from lightning_fv.runs.record import read_manifest
from lightning_fv.targets.latents import parse_latents
from tests.helpers import autoencoder, noise, smooth_photos
from tests.processes import pictures


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a@b:c.pt:d.safetensors"
    save_file(autoencoder(128, 12), path, {"architecture": "topk", "k": "3", "layer": "layer3"})
    return path


def test_latents_of_a_file(file: Path) -> None:
    for text, expected in {"3": [3], "0-2": [0, 1, 2], "5, 1,5": [5, 1], "all": list(range(12))}.items():
        found = parse_latents(f"sae:{file}:{text}")
        assert [(one.latent, one.layer, one.reading) for one in found] == [
            (n, "layer3", "pre_activation") for n in expected
        ]
    assert parse_latents(f"sae:{file}:3@layer4.0") == [SAELatent(file, 3, "layer4.0")]
    assert parse_latents(f"sae_activation:{file}:3") == [SAELatent(file, 3, reading="activation")]
    assert parse_latents(f"sae_decoder:{file}:3@x") == [SAELatent(file, 3, "x", "decoder")]


def test_a_text_is_read_back(file: Path) -> None:
    network = load_network("demo")
    for text in (f"sae:{file}:2", f"sae_activation:{file}:2", f"sae_decoder:{file}:2@layer3.0.conv2"):
        (target,) = resolve_targets(text, network)
        assert target.text == text
    pair = resolve_targets(f"sae:{file}:3,4 x2+layer3:0", network)
    assert [target.text for target in pair] == [*(f"sae:{file}:{n} #{m}" for n in (3, 4) for m in (1, 2)), "layer3:0"]
    assert pair[0].id == f"sae-layer3-0003-{pair[0].objective.digest[:6]}-1"  # type: ignore[attr-defined]


def test_what_is_not_there_is_told_in_one_line(file: Path) -> None:
    network, file = load_network("demo"), file.rename(file.with_name("a.safetensors"))
    torch.save(
        {
            "encoder.weight": noise(3, 128),
            "dictionary._weights": noise(3, 128),
            "dictionary.multiplier": torch.zeros(()),
        },
        file.with_name("o.pth"),
    )
    for text, message in {
        "sae:": "write sae:FILE:LATENT, or sae:FILE:LATENT@LAYER",
        "sae:nowhere.pt:0": r"nowhere\.pt: No such file",
        "sae:nowhere.txt:0": "FILE ending in .safetensors or .pt",
        f"sae:{file}": "names no latent; there are 0 to 11",
        f"sae:{file}:12": "has no latent 12; there are 0 to 11",
        f"sae:{file}:3-99": "has no latent 99; there are 0 to 11",
        f"sae:{file}:5-3": "latents 5-3: 5 comes after 3; write 3-5",
        f"sae:{file}:x": "latents are numbers, ranges or all, not 'x'",
        f"sae:{file}:0@layer4": "layer4 has 256 channels, and the autoencoder .* is one of 128 channels",
        f"sae:{file}:0@layer9": "demo has no layer layer9, of which this is an autoencoder",
        f"sae:{file.with_name('o.pth')}:0": r"o\.pth names no layer of the network; give it: sae:.*o\.pth:0@LAYER",
        f"sae_activation:{file.with_name('o.pth')}:0@layer3": "does not say which nonlinearity",
    }.items():
        with pytest.raises(FeatureVisualizationError, match=message) as told:
            resolve_targets(text, network)
        assert "\n" not in str(told.value)


WORDS = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "3"]


def test_as_text_in_a_config_file_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"architecture": "topk", "k": "3", "layer": "layer2"}
    save_file(autoencoder(64, 12), "sae.safetensors", settings)
    texts = [
        "sae:sae.safetensors:3",
        "sae_decoder:sae.safetensors:3@layer2.0.conv1",
        "sae_activation:sae.safetensors:4",
    ]
    assert main(["--targets", "+".join(texts), *WORDS, "--out", "text"]) in (
        0,
        1,
    )  # a latent that is active nowhere is dead
    assert [record.target for record in read_manifest(Path("text/manifest.jsonl"))] == texts
    digest = SAELatent("sae.safetensors", 3).digest
    arguments = [
        {"latent": 3, "digest": digest},
        {"latent": 3, "layer": "layer2.0.conv1", "reading": "decoder"},
        {"latent": 4, "reading": "activation"},
    ]
    named = [{"class_path": "SAELatent", "init_args": {"autoencoder": "sae.safetensors", **one}} for one in arguments]
    Path("own.yaml").write_text(yaml.safe_dump({"targets": named}))
    assert main(["--config", "own.yaml", *WORDS, "--out", "named"]) in (0, 1)
    assert pictures(Path("named")) == pictures(Path("text"))
    assert sorted(pictures(Path("text"))) == [
        f"sae-layer2-0003-{digest[:6]}.png",
        f"sae-layer2-0004-activation-{digest[:6]}.png",
        f"sae-layer2.0.conv1-0003-decoder-{digest[:6]}.png",
    ]
    capsys.readouterr()
    save_file(autoencoder(64, 12, seed=9), "sae.safetensors", settings)
    assert main(["--config", "own.yaml", *WORDS, "--out", "no"]) == 2
    assert "sae.safetensors has changed: its digest is" in capsys.readouterr().err
    assert not Path("no").exists()
    assert main(["--resume", "--out", "text"]) == 2


def test_a_run_of_render_is_continued_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(autoencoder(64, 12), "sae.safetensors", {"architecture": "topk", "k": "3", "layer": "layer2"})
    targets = [SAELatent("sae.safetensors", 3), SAELatent("sae.safetensors", 4, position=(2, 1))]
    lightning_fv.render("demo", targets, out="run", steps=3, progress=False, accelerator="cpu")
    before = pictures(Path("run"))
    for picture in Path("run/images").iterdir():
        picture.unlink()
    assert main(["--resume", "--out", "run"]) == 0
    assert pictures(Path("run")) == before


def test_the_packages_own_autoencoder() -> None:
    """It names its layer, is small, and explains most of what a photo does there."""
    network = load_network("demo/vit")
    targets = resolve_targets("sae:demo/vit:3,2047", network)
    assert [target.text for target in targets] == ["sae:demo/vit:3", "sae:demo/vit:2047"]
    assert EMBEDDED["demo/vit"].stat().st_size <= 2_000_000
    sae = read_sparse_autoencoder("demo/vit")
    photos = smooth_photos(64, 64)
    with torch.no_grad():
        x = network.activations(photos, ["blocks.3"])["blocks.3"].transpose(1, 2)  # (B, T, C)
        before = sae.pre_activations(x)
        latents = before * sae.active(before)
    assert int((latents > 0).sum(2).max()) <= 16
    likeness = torch.nn.functional.cosine_similarity(latents @ sae.decoder, x - x.mean((0, 1)), dim=2)
    assert float(likeness.mean()) > 0.5


def test_an_autoencoder_of_another_network_names_its_own(tmp_path: Path) -> None:
    remedy = re.escape("choose the network that it was trained on: demo/vit (--network demo/vit)")
    with pytest.raises(TargetError, match=f"sae:demo/vit:3: demo has no layer blocks.3, .*; {remedy}"):
        resolve_targets("sae:demo/vit:3", load_network("demo"))
    with pytest.raises(TargetError, match=f"layer layer4 has 256 channels, .*; {remedy}"):
        resolve_targets("sae:demo/vit:3@layer4", load_network("demo"))
    save_file(autoencoder(64, 12), tmp_path / "sae.safetensors", {"architecture": "topk", "k": "3", "layer": "layer9"})
    with pytest.raises(TargetError, match=r"demo has no layer layer9, .*; choose the network and the layer"):
        resolve_targets(f"sae:{tmp_path}/sae.safetensors:3", load_network("demo"))
