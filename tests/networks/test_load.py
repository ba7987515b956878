"""The embedded network, and what is said of weights that are not it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_fv import load_network
from lightning_fv.errors import CheckpointError, NetworkError
from lightning_fv.networks import demo


def test_the_demo_network_is_what_it_says() -> None:
    network = load_network("demo")
    assert len(network.categories) == 24
    assert {"pizza", "iPod"} <= set(network.categories)
    assert network.input_size == (64, 64)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 24)
    assert network(torch.rand(1, 3, 37, 51)).shape == (1, 24)
    assert not network.module.training
    assert not any(p.requires_grad for p in network.module.parameters())
    shapes = {info.name: network.shape_of(info.name, (64, 64)) for info in network.layers()}
    assert [shapes[name] for name in ("stem", "layer1", "layer2", "layer3", "layer4", "fc")] == [
        (1, 32, 32, 32), (1, 32, 32, 32), (1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4), (1, 24),
    ]  # fmt: skip
    assert 0.9e6 < sum(p.numel() for p in network.module.parameters()) < 1.4e6
    assert (demo.ASSETS / "demo.safetensors").stat().st_size < 3e6


def test_preprocessing_is_the_plain_formula() -> None:
    network = load_network("demo")
    images = torch.rand(2, 3, 9, 11)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (network.mean, network.std))
    torch.testing.assert_close(network.preprocess(images), (images - mean) / std)
    assert network.preprocess(images).is_contiguous(memory_format=torch.channels_last)


def test_untrained_and_from_a_file(tmp_path: Path) -> None:
    trained = load_network("demo")
    assert load_network("demo", None).digest() != trained.digest()
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes((demo.ASSETS / "demo.safetensors").read_bytes())
    assert load_network("demo", copy).digest() == trained.digest()


def timm_or_skip(name: str) -> str:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    return name


@pytest.mark.parametrize(
    "name",
    [
        "demo",
        "demo/vit",
        "torchvision/squeezenet1_1",
        "torchvision/googlenet",
        "timm/resnet18",
        "timm/vit_tiny_patch16_224",
        "antialiased/resnet50",
        "stylized/resnet50_sin",
        "ensemble:demo,demo/stylized",
    ],
)
def test_untrained_weights_are_the_same_each_time_and_draw_nothing(name: str) -> None:
    first = load_network(timm_or_skip(name), None)
    torch.rand(3)
    before = torch.get_rng_state()
    assert load_network(name, None).digest() == first.digest()
    assert torch.equal(torch.get_rng_state(), before)


def test_untrained_members_of_an_ensemble_differ() -> None:
    digests = {load_network(name, None).digest() for name in ("demo", "demo/stylized", "demo/robust")}
    assert len(digests) == 3


def test_unknown_names() -> None:
    with pytest.raises(NetworkError, match="did you mean demo"):
        load_network("dmo")
    with pytest.raises(NetworkError, match="known: demo,"):
        load_network("qqqqqq")


def test_broken_weights_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (demo.ASSETS / "demo.safetensors").read_bytes()
    file = tmp_path / "weights.safetensors"
    with pytest.raises(CheckpointError, match="cannot read the weights file"):
        load_network("demo", file)
    for content in (b"", good[:100], good[: len(good) // 2], b"<html>not found</html>" * 50):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read as weights"):
            load_network("demo", file)
    tensors = load_file(demo.ASSETS / "demo.safetensors")
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match="does not contain a demo network"):
        load_network("demo", file)


def test_an_embedded_file_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray((demo.ASSETS / "demo.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "demo.safetensors").write_bytes(content)
    monkeypatch.setattr(demo, "ASSETS", tmp_path)
    with pytest.raises(CheckpointError, match="not the published file"):
        load_network("demo")
