import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightning_fv import load_network, render
from lightning_fv.errors import CheckpointError, FeatureVisualizationError, UsageError
from lightning_fv.objectives import Channel, DistributionMatching, Minimum
from lightning_fv.objectives.distribution_matching import QUANTILES, resampled
from tests.helpers import noise, smooth_photos

IMAGES = noise(4, 3, 9, 7)


def stored(folder: Path, channels: int = 6, network: str = "demo", layer: str = "layer1") -> Path:
    """A file of quantiles: of channel c -1 to 1 times c + 1, and the spread 2."""
    levels = torch.linspace(-1, 1, 32) * torch.arange(1, channels + 1)[:, None]
    tensors = {f"{network}:{layer}": levels.half(), f"{network}:{layer} spread": torch.full((channels,), 2.0).half()}
    save_file(tensors, folder / "quantiles.safetensors", {network: load_network(network).digest()})
    return folder / "quantiles.safetensors"


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (4, 6, 32), (4, 6, 7, 9)])
def test_is_the_mean_squared_difference_of_sorted_values(shape: tuple[int, ...], tmp_path: Path) -> None:
    network = load_network("demo")
    penalty = DistributionMatching("layer1", 0.5, stored(tmp_path)).for_network(network)
    maps = noise(*shape, seed=1)
    found = penalty({"layer1": maps}, IMAGES)
    values = np.sort(maps.numpy().reshape(4, 6, -1), 2)
    count = values.shape[2]
    levels = (np.linspace(-1, 1, 32) * np.arange(1, 7)[:, None]).astype(np.float16).astype(float)
    at = (np.arange(count) + 0.5) / count
    wanted = np.stack([np.interp(at, (np.arange(32) + 0.5) / 32, row) for row in levels])
    expected = 0.5 * (np.square(values - wanted).mean(2) / 2).mean(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_gradient_is_that_of_finite_differences(tmp_path: Path) -> None:
    penalty = DistributionMatching("layer1", 0.5, stored(tmp_path)).for_network(load_network("demo"))
    # Float32 inside: a wide step, in which no two values change places.
    maps = torch.linspace(-2, 2, 24).roll(7).reshape(1, 6, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(penalty({"layer1": maps}, IMAGES[:1]).sum(), maps)
    for index in ((0, 0, 0), (0, 3, 2), (0, 5, 3)):
        step = torch.zeros_like(maps)
        step[index] = 0.01
        with torch.no_grad():
            high, low = (penalty({"layer1": maps + sign * step}, IMAGES[:1]) for sign in (1, -1))
        torch.testing.assert_close((high - low) / 0.02, gradient[index][None], rtol=0.02, atol=1e-5)


def test_resampling_the_same_count_changes_nothing() -> None:
    values = noise(3, 32).sort(1).values
    torch.testing.assert_close(resampled(values, 32), values)
    assert resampled(values, 5).shape == (3, 5)
    assert torch.equal(resampled(values[:, :1], 4), values[:, :1].expand(3, 4))


def test_the_packages_quantiles_are_of_all_embedded_networks_and_small() -> None:
    assert QUANTILES.stat().st_size <= 2_000_000
    for name, layer in (
        ("demo", "layer1"),
        ("demo/plain", "layer4"),
        ("demo/robust", "layer2"),
        ("demo/vit", "blocks.3"),
    ):
        network = load_network(name)
        penalty = DistributionMatching(layer, 1.0).for_network(network)
        with torch.no_grad():
            photo, flat = (
                penalty(network.activations(images, [layer]), images)
                for images in (smooth_photos(64, 64), torch.full((2, 3, 64, 64), 0.5))
            )
        assert bool(((photo > 0.05) & (photo < 5)).all())  # photos have a mean of 1
        assert float(flat.min()) > 0.2


def test_the_script_measures_what_the_penalty_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import measure_quantiles

    photos = torch.cat([smooth_photos(64, 64), noise(4, 3, 64, 64).sigmoid()])
    pixels = (photos * 255).round().to(torch.uint8)
    (tmp_path / "val").mkdir()
    for number, photo in enumerate(pixels):
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(tmp_path / "val" / f"{number}.png")
    file = tmp_path / "q.safetensors"
    words = ["--photos", str(tmp_path), "--network", "demo", "--layers", "layer2", "--out", str(file)]
    monkeypatch.setattr(sys, "argv", ["measure_quantiles.py", *words])
    measure_quantiles.main()
    network = load_network("demo")
    penalty = DistributionMatching("layer2", 1.0, file).for_network(network)
    with torch.no_grad():
        found = penalty(network.activations(pixels.float() / 255, ["layer2"]), pixels)
    assert 0.98 < float(found.mean()) < 1.02  # by definition


def test_a_render_stays_nearer_to_photos() -> None:
    network = load_network("demo")
    options = {"steps": 48, "progress": False, "seed": 0}
    measured = DistributionMatching("layer2", 1.0).for_network(network)
    distances = []
    for penalties in ([], [DistributionMatching("layer2", 2.0)]):
        result = render(network, Channel("layer4", 3), penalties=penalties, **options)
        assert result.scores[0] > 1
        with torch.no_grad():
            distances.append(float(measured(network.activations(result.images, ["layer2"]), result.images)))
    assert distances[1] < 0.8 * distances[0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("layer1", float("nan")), UsageError, "finite weight"),
        (("layer1", 1.0, "missing.safetensors"), CheckpointError, "missing.safetensors"),
        (("layer1", 1.0, None, "0123"), UsageError, "have changed"),
    ],
)
def test_what_is_refused(arguments: tuple[object, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        DistributionMatching(*arguments)  # type: ignore[arg-type]


def test_another_network_or_layer_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no quantiles of demo:stem in the package; known are demo/antialiased:layer1"
    ):
        render("demo", "logits:0", penalties=[DistributionMatching("stem")], progress=False)
    other = load_network("demo", None)
    with pytest.raises(UsageError, match="of demo in the package are of other weights"):
        render(other, "logits:0", penalties=[DistributionMatching("layer1")], progress=False)
    file = stored(tmp_path, channels=5)
    with pytest.raises(FeatureVisualizationError, match="quantiles of 5 channels"):
        render("demo", "logits:0", penalties=[DistributionMatching("layer1", 1.0, file)], steps=1, progress=False)
    penalty = DistributionMatching("layer1", 1.0, file)
    stored(tmp_path, channels=6)
    with pytest.raises(UsageError, match="have changed"):
        DistributionMatching("layer1", 1.0, file, penalty.digest)


BROKEN = {
    "no spread": (torch.ones(32, 8), None),
    "a spread of too few channels": (torch.ones(32, 8), torch.ones(5)),
    "a spread of 0": (torch.ones(32, 8), torch.zeros(32)),
    "an infinite spread": (torch.ones(32, 8), torch.full((32,), torch.inf)),
    "NaN": (torch.full((32, 8), torch.nan), torch.ones(32)),
    "one level without an axis": (torch.ones(32), torch.ones(32)),
    "no levels": (torch.ones(32, 0), torch.ones(32)),
    "integers": (torch.ones(32, 8, dtype=torch.long), torch.ones(32)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_of_unusable_quantiles_is_refused(name: str, tmp_path: Path) -> None:
    quantiles, spread = BROKEN[name]
    spreads = {} if spread is None else {"demo:layer1 spread": spread}
    network, file = load_network("demo"), tmp_path / "broken.safetensors"
    save_file({"demo:layer1": quantiles, **spreads}, file, {"demo": network.digest()})
    with pytest.raises(UsageError, match=r"demo:layer1 in .*broken.safetensors .*measure_quantiles"):
        DistributionMatching("layer1", quantiles=file).for_network(network)


def test_as_a_part_of_a_penalty_it_knows_the_network() -> None:
    network, penalty = load_network("demo"), DistributionMatching("layer1", 1.0)
    maps = noise(4, 32, 5, 3, seed=2)
    expected = penalty.for_network(network)({"layer1": maps}, IMAGES)
    for composed, factor in ((0.5 * penalty, 0.5), (Minimum([penalty, 2 * penalty]), 1.0)):
        found = composed.for_network(network)({"layer1": maps}, IMAGES)
        torch.testing.assert_close(found, factor * expected)
