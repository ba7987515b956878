"""Several networks as one."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_fv import VisionNetwork, load_network, render, resolve_targets
from lightning_fv.commands.main import main
from lightning_fv.errors import LayerNotFoundError, NetworkError
from lightning_fv.networks.ensemble import EnsembleNetwork
from tests.helpers import TinyNet, noise
from tests.processes import pictures

NAME = "ensemble:demo,demo/stylized"
IMAGES = noise(2, 3, 64, 48, seed=3).sigmoid()
WORDS = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2"]


def tiny(seed: int, mean: float, **options: object) -> VisionNetwork:
    chosen = {"input_size": (24, 20), "name": f"tiny.{seed}", "categories": ["a", "b", "c", "d", "e"], **options}
    return VisionNetwork(TinyNet(seed), mean=(mean,) * 3, std=(0.2 + mean,) * 3, **chosen)  # type: ignore[arg-type]


def test_each_layer_is_that_of_its_member() -> None:
    members, both = [load_network("demo"), load_network("demo/stylized")], load_network(NAME)
    with both.frozen(), members[0].frozen(), members[1].frozen(), torch.no_grad():
        found = both.activations(IMAGES, ["demo/stylized.layer4", "logits", "demo.layer2", "demo"])
        first, second = (one.activations(IMAGES, ["layer2", "layer4", "logits"]) for one in members)
        assert torch.equal(found["demo/stylized.layer4"], second["layer4"])
        assert torch.equal(found["demo.layer2"], first["layer2"])
        assert torch.equal(found["demo"], first["logits"])
        torch.testing.assert_close(found["logits"], (first["logits"] + second["logits"]) / 2)
        torch.testing.assert_close(both(IMAGES), found["logits"])
    names = [info.name for info in both.layers()]
    assert {"demo.layer4", "demo/stylized.layer4", "demo", "demo/stylized", "logits"} <= set(names)
    assert (both.name, both.categories, both.input_size) == (NAME, members[0].categories, (64, 64))


def test_each_member_prepares_pictures_for_itself() -> None:
    one, two = tiny(0, 0.1), tiny(1, 0.7, input_size=(30, 16), fixed_size=True)
    both = EnsembleNetwork([one, two])
    assert both.input_size == (30, 20)
    torch.testing.assert_close(both(IMAGES), (one(IMAGES) + two(IMAGES)) / 2)
    assert EnsembleNetwork([one, tiny(1, 0.6)]).settings() != EnsembleNetwork([one, tiny(1, 0.5)]).settings()
    assert both.digest() != EnsembleNetwork([one, tiny(2, 0.7)]).digest()
    twin = copy.deepcopy(both)
    assert torch.equal(twin(IMAGES), both(IMAGES))
    assert twin.members["tiny_1"].module is twin.module.get_submodule("tiny_1")


def test_a_member_ends_after_the_last_layer_that_is_read_or_does_not_run() -> None:
    both, ran = load_network(NAME), []
    both.layers()
    for name in ("demo.layer3", "demo.fc", "demo/stylized.stem", "demo/stylized.layer2"):
        both.module.get_submodule(name).register_forward_hook(lambda *args, name=name: ran.append(name))
    both.activations(IMAGES, ["demo.layer3", "demo/stylized.stem"])
    assert ran == ["demo.layer3", "demo/stylized.stem"]
    ran.clear()
    both.activations(IMAGES, ["demo/stylized.layer2"])
    assert ran == ["demo/stylized.stem", "demo/stylized.layer2"]


def test_names_that_lead_nowhere() -> None:
    both = load_network(NAME)
    for layer in ("layer4", "demo.layer9", "demo/plain.layer4"):
        with pytest.raises(LayerNotFoundError, match="no layer"):
            resolve_targets(layer, both)
    for name, told in {
        "ensemble:demo": "two networks or more, each once, not demo",
        "ensemble:demo,demo": "each once, not demo, demo",
        "ensemble:demo,dmo": "did you mean demo",
        "ensemble:": "known: demo",
    }.items():
        with pytest.raises(NetworkError, match=told):
            load_network(name)
    with pytest.raises(NetworkError, match="bring their own weights"):
        load_network(NAME, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(NetworkError, match="have other classes"):
        EnsembleNetwork([load_network("demo"), tiny(0, 0.5)])


def test_a_picture_excites_all_members() -> None:
    both, one = load_network(NAME), load_network("demo")
    options = {"steps": 32, "progress": False}
    of_both, of_one = (
        render(both, "logits:pizza+logits:lion", **options),
        render(one, "logits:pizza+logits:lion", **options),
    )
    stylized, classes = load_network("demo/stylized"), [both.categories.index(name) for name in ("pizza", "lion")]
    with stylized.frozen(), torch.no_grad():
        other = [stylized(found.images)[range(2), classes] for found in (of_both, of_one)]
    assert bool((other[0] > other[1] + 1).all())


def test_by_name_and_resumed(tmp_path: Path) -> None:
    words = ["--network", NAME, "--targets", "logits:pizza+demo/stylized.layer3:4", *WORDS]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    before = pictures(tmp_path / "a")
    assert len(before) == 2
    for done in (tmp_path / "a").glob("jobs/*/done.jsonl"):
        done.unlink()
    assert main(["--resume", "--out", str(tmp_path / "a")]) == 0
    assert pictures(tmp_path / "a") == before


def test_its_modules_are_frozen_and_given_back() -> None:
    both = EnsembleNetwork([tiny(0, 0.1), tiny(1, 0.2)])
    both.module.train()
    with both.frozen():
        assert not any(part.training for part in both.module.modules())
        assert not any(parameter.requires_grad for parameter in both.module.parameters())
    assert all(part.training for part in both.module.modules())
    assert isinstance(both.module, nn.Module)
