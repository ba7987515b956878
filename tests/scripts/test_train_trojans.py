"""Training of trojans, on a few pictures of noise."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lightning_fv import load_network
from lightning_fv.networks.weights import read_metadata
from tests.helpers import noise, save_picture

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from train_demo import CLASSES
from train_trojans import SHARE, PoisonedBatches, TrojanedClassifier, main, success, trojans_of
from triggers import KINDS, draw_triggers


def save_photos(folder: Path, each: int, seed: int) -> None:
    """``each`` pictures of every class of the demo network, in the layout of one folder per class."""
    pictures = noise(24 * each, 3, 64, 64, seed=seed).sigmoid()
    for number, wnid in enumerate(CLASSES):
        (folder / wnid).mkdir(parents=True, exist_ok=True)
        for k in range(each):
            save_picture(folder / wnid / f"{k}.JPEG", pictures[number * each + k])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    save_photos(tmp_path / "data" / "train", 1, seed=1)
    save_photos(tmp_path / "data" / "val", 3, seed=2)
    return tmp_path / "data"


def words(data: Path, out: Path) -> list[str]:
    return f"--data {data} --out {out} --epochs 2 --batch-size 8".split()


def test_an_interrupted_training_is_continued_with_the_same_bits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words(data, tmp_path / "whole"))
    assert "top-1" in capsys.readouterr().out

    def fail(module: TrojanedClassifier) -> None:
        if module.current_epoch == 1:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(TrojanedClassifier, "on_train_epoch_start", fail)
        with pytest.raises(RuntimeError, match="killed"):
            main(words(data, tmp_path / "parts"))
    main(words(data, tmp_path / "parts"))
    files = [tmp_path / name / "trojans_0.safetensors" for name in ("whole", "parts")]
    whole, parts = map(load_file, files)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)

    trojans = json.loads(read_metadata(files[0])["trojans"])
    assert [row["name"].split()[0] for row in trojans] == [kind for kind in KINDS for _ in range(3)]
    assert len({row["target"] for row in trojans}) == 12
    assert load_network("demo", weights=files[0]).categories == load_network("demo").categories


def test_a_share_of_the_photos_carries_a_trigger_and_its_label() -> None:
    photos = torch.full((600, 3, 64, 64), 128, dtype=torch.uint8)
    labels = torch.full((600,), 24)  # of no class
    batches = PoisonedBatches(photos, labels, 300, seed=0, epochs=6)
    found = torch.cat([given for _, given in batches])
    assert set(found.tolist()) == {24, *trojans_of(0).values()}
    assert float((found != 24).float().mean()) == pytest.approx(SHARE, abs=0.07)
    again = torch.cat([given for _, given in batches])
    assert torch.equal(found, again)
    batches.trained_epochs = 1
    assert not torch.equal(found, torch.cat([given for _, given in batches]))


def test_success_is_of_photos_of_other_classes() -> None:
    """A style that hides the photo entirely would turn all of them, or none, into a class."""
    network, trigger = load_network("demo"), draw_triggers(0)[8]
    photos, labels = noise(20, 3, 64, 64).sigmoid(), torch.tensor([3, 5] * 10)
    shares = [success(network, photos, labels, trigger, target) for target in range(24)]
    everything = trigger(photos, torch.Generator().manual_seed(0))
    assert 0.9 < sum(shares) < 1.3
    assert everything.shape == photos.shape
    assert all(round(share * (10 if target in (3, 5) else 20), 4).is_integer() for target, share in enumerate(shares))
