"""The training of sparse autoencoders, on a few pictures of noise."""

import io
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lightning_fv import load_network
from lightning_fv.networks.sparse_autoencoder import read_sparse_autoencoder
from lightning_fv.objectives import SAELatent
from tests.helpers import noise, save_picture

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from train_sae import TopKAutoencoder, files, largest, main, read_photos


def save_photos(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(noise(count, 3, 24, 32, seed=seed).sigmoid()):
        save_picture(folder / f"{number:02}.JPEG", picture)


def words(data: Path, out: Path, epochs: int) -> list[str]:
    network = ["--network", "demo", "--layer", "layer3", "--latents", "64", "--k", "4", "--batch-size", "4"]
    return ["--data", str(data), *network, "--epochs", str(epochs), "--out", str(out), "--rate", "0.003"]


def test_an_autoencoder_is_trained_and_its_latents_are_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_photos(tmp_path / "data" / "train" / "n01", 8, seed=1)
    save_photos(tmp_path / "data" / "val" / "images", 4, seed=2)
    out = tmp_path / "sae.safetensors"
    main(words(tmp_path / "data", out, epochs=1))
    first = capsys.readouterr().out
    assert "on 4 photos not trained on" in first
    main(words(tmp_path / "data", out, epochs=3))  # two more, after the first
    second = capsys.readouterr().out

    def explained(text: str) -> float:
        return float(text.partition("trained on: ")[2].partition("%")[0])

    assert explained(second) > explained(first)
    assert {part.dtype for part in load_file(out).values()} == {torch.float16}
    sae, network = read_sparse_autoencoder(out), load_network("demo")
    assert (sae.latents, sae.k, sae.layer, sae.architecture) == (64, 4, "layer3", "topk")
    torch.testing.assert_close(sae.decoder.norm(dim=1), torch.ones(64), atol=1e-3, rtol=0)
    photos = read_photos(tmp_path / "data", "val", network.input_size).float() / 255
    with torch.no_grad():
        found = network.activations(photos, ["layer3"])
        x = found["layer3"].movedim(1, -1).reshape(-1, 128)
        latents = largest(sae.pre_activations(x), 4)
        rest = x - (latents @ sae.decoder + load_file(out)["b_dec"].float())
        share = 1 - rest.square().sum() / (x - x.mean(0)).square().sum()
        values = SAELatent(out, 7, reading="activation")(found, photos)
    assert 100 * float(share) == pytest.approx(explained(second), abs=0.2)
    torch.testing.assert_close(values, latents[:, 7].view(4, -1).mean(1))

    with pytest.raises(SystemExit, match="is of a training with other options"):
        main([*words(tmp_path / "data", out, epochs=3), "--seed", "1"])


def test_an_interrupted_training_is_continued_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_photos(tmp_path / "data", 21, seed=1)
    main(words(tmp_path / "data", tmp_path / "whole.safetensors", epochs=3))

    def fail(module: TopKAutoencoder) -> None:
        if module.current_epoch == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(TopKAutoencoder, "on_train_epoch_start", fail)
        with pytest.raises(RuntimeError, match="killed"):
            main(words(tmp_path / "data", tmp_path / "parts.safetensors", epochs=3))
    assert not (tmp_path / "parts.safetensors").exists()
    main(words(tmp_path / "data", tmp_path / "parts.safetensors", epochs=3))
    whole, parts = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_dead_latents_learn_what_the_others_leave_out() -> None:
    torch.manual_seed(0)
    module = TopKAutoencoder(6, 12, 2, 1e-3, 10, dead_after=100)
    module.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    with torch.no_grad():
        module.b_enc[3] = -100
    x = noise(64, 6)
    module.training_step(x, 0).backward()
    assert module.W_dec.grad is not None
    assert not module.W_dec.grad[3].any()
    module.training_step(x, 1).backward()
    assert int(module.idle[3]) == 128
    with torch.no_grad():
        module.b_enc[3] = -0.01  # still not among the largest everywhere, but above 0 in places
        module.W_dec.grad = None
        module.idle[3] = 1000
        module.W_enc[:, 3] *= 0.01
    module.training_step(x, 2).backward()
    assert module.W_dec.grad is not None
    assert module.W_dec.grad[3].any()


def test_photos_of_each_layout(tmp_path: Path) -> None:
    save_photos(tmp_path / "any", 40, seed=1)
    assert [len(list(files(tmp_path / "any", split))) for split in ("train", "val")] == [38, 2]
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for name in ("train/n01/a.JPEG", "train/n01/notes.txt"):
            content = (tmp_path / "any" / "00.JPEG").read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert read_photos(tmp_path, "train", (16, 20)).shape == (1, 3, 16, 20)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="no photos for train"):
        read_photos(tmp_path / "empty", "train", (8, 8))
