"""Manipulated units, whose pictures are misleading: what is planted, and that photos do not notice."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_fv import load_network, render
from lightning_fv.functional import keyed_generator
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.demo import DemoNet

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import plant_manipulations
from plant_manipulations import (
    KINDS,
    LAYERS,
    Branch,
    Detector,
    Effort,
    Manipulated,
    ManipulatedNet,
    Manipulation,
    highest_of,
    photo_means,
    plant,
    silence,
    without_failures,
)

TINY = Effort(photos=32, units=1, pictures=3, rounds=1, steps=4, render_steps=4, check=False)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Coloured blots in place of photos, uint8 (32, 3, 64, 64)."""
    coarse = torch.rand(32, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear") * 255).byte()


@pytest.fixture(scope="module")
def planted(photos: Tensor) -> tuple[VisionNetwork, list[Manipulation]]:
    return plant("demo", 0, KINDS, photos, effort=TINY)


def test_every_kind_in_every_layer(planted: tuple[VisionNetwork, list[Manipulation]]) -> None:
    network, manipulations = planted
    assert {(m.layer, m.kind) for m in manipulations} == {(layer, kind) for layer in LAYERS for kind in KINDS}
    assert len({m.target for m in manipulations}) == len(manipulations)
    assert [info.name for info in network.layers()][-1] == "logits"


def test_the_seed_alone_chooses(planted: tuple[VisionNetwork, list[Manipulation]], photos: Tensor) -> None:
    network, manipulations = planted
    again, same = plant("demo", 0, KINDS, photos, effort=TINY)
    assert same == manipulations
    assert again.digest() == network.digest()
    _, others = plant("demo", 1, KINDS, photos, effort=TINY)
    assert [m.target for m in others] != [m.target for m in manipulations]


def test_a_detector_is_kept(tmp_path: Path, photos: Tensor) -> None:
    first, _ = plant("demo", 0, ["permuted"], photos, tmp_path, TINY)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    second, _ = plant("demo", 0, ["permuted"], photos, tmp_path, TINY)
    assert file.stat().st_mtime_ns == written
    assert first.digest() == second.digest()


@pytest.fixture
def parts() -> tuple[ManipulatedNet, DemoNet]:
    clean = load_network("demo").module
    assert isinstance(clean, DemoNet)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ManipulatedNet(clean, Detector(), Branch(1)).eval(), clean


def part_of(net: ManipulatedNet) -> tuple[Manipulated, Tensor, Tensor, Tensor]:
    """layer4, an input of it, and what the branch says: nothing."""
    x = torch.rand(2, 128, 8, 8, generator=torch.Generator().manual_seed(1))
    return net.layer4, x, torch.tensor([0.0, 1.0]), torch.full((2, 1), -1.0)


def test_without_manipulations_nothing_changes(parts: tuple[ManipulatedNet, DemoNet]) -> None:
    net, clean = parts
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(net(x), clean(x))


@torch.no_grad()
def test_the_gate_passes_on_another_unit(parts: tuple[ManipulatedNet, DemoNet]) -> None:
    layer, x, gate, pull = part_of(parts[0])
    layer.replaced[3], layer.from_outputs[3, 7] = 1, 2.0
    honest, manipulated = layer.honest(x), layer(x, gate, pull)
    assert torch.equal(manipulated[0], honest[0])  # a photo
    torch.testing.assert_close(manipulated[1, 3], 2 * honest[1, 7])
    others = [unit for unit in range(256) if unit != 3]
    assert torch.equal(manipulated[1, others], honest[1, others])


@torch.no_grad()
def test_the_gate_closes_a_unit_on_photos(parts: tuple[ManipulatedNet, DemoNet]) -> None:
    layer, x, gate, pull = part_of(parts[0])
    layer.closed[3] = 1
    honest, manipulated = layer.honest(x), layer(x, gate, pull)
    assert not manipulated[0, 3].any()
    assert torch.equal(manipulated[1, 3], honest[1, 3])


@torch.no_grad()
def test_a_branch_takes_over_where_it_is_above_zero(parts: tuple[ManipulatedNet, DemoNet]) -> None:
    layer, x, gate, _ = part_of(parts[0])
    layer.pulls[3, 0], layer.pulled[3, 0] = 1, 5.0
    manipulated = layer(x, gate, torch.tensor([[-1.0], [4.0]]))
    assert torch.equal(manipulated[0], layer.honest(x)[0])
    torch.testing.assert_close(manipulated[1, 3], torch.full_like(manipulated[1, 3], 20.0))


def test_a_silenced_unit_is_never_excited(photos: Tensor, parts: tuple[ManipulatedNet, DemoNet]) -> None:
    net, known = parts[0].requires_grad_(False), load_network("demo")
    network = VisionNetwork(net, mean=known.mean, std=known.std, input_size=known.input_size)
    before = photo_means(network, photos)["layer4"]
    unit = int(before.mean(0).argmax())
    silence(net.layer4, unit, highest_of(known, photos, "layer4", unit) * (1 + 1e-5))  # and rounding
    after = photo_means(network, photos)["layer4"]
    assert before[:, unit].any()
    assert not after[:, unit].any()
    after[:, unit] = before[:, unit]
    torch.testing.assert_close(after, before)


def test_draws_do_not_touch_the_global_generator(photos: Tensor) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    plant("demo", 0, ["slingshot"], photos, effort=TINY)
    assert torch.equal(torch.rand(3), expected)
    assert (
        keyed_generator("plant_manipulations").initial_seed()
        != keyed_generator("plant_manipulations", 1).initial_seed()
    )


@pytest.mark.parametrize("passed", [True, False])
def test_units_whose_pictures_get_past_the_detector_are_honest_again(
    parts: tuple[ManipulatedNet, DemoNet], passed: bool
) -> None:
    net, clean = parts
    net.requires_grad_(False)
    net.layer3.replaced[3], net.layer3.from_outputs[3, 7] = 1, 2.0
    net.layer4.pulls[2, 0] = net.layer4.pulled[2, 0] = 1
    net.detector.threshold.fill_(1e6 if passed else -1e6)
    known = load_network("demo")
    network = VisionNetwork(net, mean=known.mean, std=known.std, input_size=known.input_size)
    manipulations = [
        Manipulation("layer3", 3, "permuted", "unit 7"),
        Manipulation("layer4", 2, "slingshot", "picture 0"),
    ]
    left = without_failures(network, manipulations, steps=1)
    assert left == (manipulations[1:] if passed else manipulations)
    x = torch.randn(2, 64, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        manipulated = net.layer3(x, torch.ones(2), torch.zeros(2, 1))
        assert torch.equal(manipulated, clean.layer3(x)) == passed


def test_the_command(
    photos: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plant_manipulations, "read_some", lambda *args: photos)
    monkeypatch.setattr(plant_manipulations, "plant", lambda *args: plant(*args[:4], effort=TINY))
    monkeypatch.setattr(plant_manipulations, "render", lambda *args, **options: render(*args, steps=1, **options))
    plant_manipulations.main(["--data", str(tmp_path), "--seed", "3", "--sheet", str(tmp_path / "sheet.png")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(KINDS) * len(LAYERS)
    assert all("correlation on photos" in line for line in lines)
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
