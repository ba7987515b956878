"""The embedded networks: what they are, and in what alone they differ."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lightning_fv.errors import CheckpointError, NetworkError
from lightning_fv.networks import load_network
from lightning_fv.networks.antialiased import BlurPool
from lightning_fv.networks.demo import ASSETS, EMBEDDED, NAMES, DemoNet


def strides(network: nn.Module) -> dict[str, int]:
    return {name: m.stride[0] for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.stride[0] > 1}


@pytest.mark.parametrize("name", NAMES)
def test_embedded_networks_are_small_and_say_how_good_they_are(name: str) -> None:
    file = ASSETS / EMBEDDED[name.partition("/")[2]].file
    assert file.stat().st_size <= 3_000_000
    with safe_open(file, "pt") as weights:
        metadata = weights.metadata()
    assert float(metadata["top1"]) >= 0.71
    network = load_network(name)
    assert network.name == name
    assert len(network.categories) == 24
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 24)
    assert network(torch.rand(1, 3, 16, 16)).shape == (1, 24)


def test_twins_were_trained_alike() -> None:
    common = ("categories", "mean", "std", "input_size", "seed")
    said = {}
    for variant, network in EMBEDDED.items():
        with safe_open(ASSETS / network.file, "pt") as weights:
            said[variant] = weights.metadata()
    assert len({tuple(metadata[key] for key in common) for metadata in said.values()}) == 1
    assert len({said[variant]["epochs"] for variant in ("", "antialiased", "stylized", "plain")}) == 1
    assert json.loads(said[""]["input_size"]) == [64, 64]


def test_the_antialiased_twin_blurs_in_place_of_every_stride() -> None:
    plain, blurred = DemoNet(24), DemoNet(24, 3)
    assert set(strides(plain)) == {"stem.0", *(f"layer{i}.0.{c}" for i in (2, 3, 4) for c in ("conv1", "downsample.0"))}
    assert strides(blurred) == {}
    pools = [m for m in blurred.modules() if isinstance(m, BlurPool)]
    assert len(pools) == len(strides(plain))
    assert all((pool.stride, pool.filter_size) == (2, 3) for pool in pools)
    trained = {name: p.shape for name, p in plain.named_parameters()}
    assert sorted(trained.values()) == sorted(p.shape for p in blurred.parameters())
    x = torch.rand(2, 3, 40, 33)
    for layer in ("stem", "layer1", "layer2", "layer3", "layer4"):
        shapes = []
        for network in (plain, blurred):
            part = nn.Sequential(*list(network.children())[: list(dict(network.named_children())).index(layer) + 1])
            shapes.append(part.eval()(x).shape)
        assert shapes[0] == shapes[1]


def test_twins_of_other_makes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="did you mean demo/stylized"):
        load_network("demo/stylised")
    with pytest.raises(
        NetworkError, match="known: demo, demo/antialiased, demo/stylized, demo/plain, demo/robust, demo/vit"
    ):
        load_network("demo/xyz")
    with pytest.raises(CheckpointError, match="does not fit DemoNet: 22 missing"):
        load_network("demo/antialiased", ASSETS / EMBEDDED[""].file)
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="does not contain a demo network"):
        load_network("demo/stylized", tmp_path / "bare.safetensors")
    for number, changed in enumerate(({"categories": "["}, {"mean": "3"}, {"input_size": "3"})):
        metadata = {"categories": '["a"]', "mean": "[0, 0, 0]", "std": "[1, 1, 1]", "input_size": "[64, 64]", **changed}
        file = tmp_path / f"{number}.safetensors"
        save_file(DemoNet(1).state_dict(), file, metadata)
        with pytest.raises(CheckpointError, match="does not contain a demo network"):
            load_network("demo", file)


def test_weights_of_a_twin_can_be_given_as_a_file() -> None:
    network = load_network("demo", ASSETS / EMBEDDED["stylized"].file)
    expected = load_network("demo/stylized")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(network(x), expected(x))
