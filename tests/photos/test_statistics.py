"""Quantiles of what units respond to photos, and how a value compares with them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.networks.demo import NAMES
from lightning_fv.networks.stages import stage_layers
from lightning_fv.networks.weights import read_metadata
from lightning_fv.photos.activations import photo_activations
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.photos.statistics import (
    LEVELS,
    SHIPPED,
    Comparison,
    PhotoStatistics,
    network_key,
    shipped_statistics,
)
from tests.helpers import noise, save_picture


def values_of(photos: int = 500, units: int = 3) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(photos, units)).astype(np.float32)


def compared(statistics: PhotoStatistics, layer: str, unit: int, value: float) -> Comparison:
    found = statistics.compare(layer, unit, value)
    assert found is not None
    return found


def test_quantiles_on_disk_are_those_of_each_unit(tmp_path: Path) -> None:
    """150 units: more than are read at a time."""
    values = values_of(units=150)
    values.tofile(tmp_path / "values")
    found = PhotoStatistics.of({"conv1": np.memmap(tmp_path / "values", np.float32, "r", shape=values.shape)})
    quantiles, active = found.layers["conv1"]
    assert (quantiles.shape, active.shape, found.photos) == ((150, len(LEVELS)), (150,), 500)
    for unit in range(150):
        np.testing.assert_allclose(quantiles[unit], np.percentile(values[:, unit].astype(float), LEVELS), atol=1e-6)
        assert active[unit] == np.mean(values[:, unit] > 0)


def test_quantiles_of_a_folder_of_photos(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(noise(23, 3, 64, 64, seed=3).sigmoid()):
        save_picture(tmp_path / "photos" / f"{number}.png", picture)
    network = load_network("demo")
    found = photo_activations(network, PhotoFolder(tmp_path / "photos"), ["layer2", "logits"], cache=tmp_path / "cache")
    statistics = PhotoStatistics.of(found.layers)
    assert statistics.photos == 23
    for layer in ("layer2", "logits"):
        expected = np.percentile(np.array(found.layers[layer], np.float64), LEVELS, axis=0).T
        np.testing.assert_allclose(statistics.layers[layer][0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_unit_that_is_not_finite_is_unknown_and_the_others_are_intact(value: float) -> None:
    values = values_of()
    whole = PhotoStatistics.of({"conv1": values})
    values[100, 1] = value
    found = PhotoStatistics.of({"conv1": values})
    quantiles, active = found.layers["conv1"]
    assert np.isnan(quantiles[1]).all()
    assert np.isnan(active[1])
    np.testing.assert_array_equal(quantiles[[0, 2]], whole.layers["conv1"][0][[0, 2]])
    assert found.compare("conv1", 1, 0.5) is None
    assert found.compare("conv1", 0, 0.5) == whole.compare("conv1", 0, 0.5)


def test_a_value_is_compared_with_those_of_photos() -> None:
    values = values_of(photos=2000)
    found = PhotoStatistics.of({"conv1": values})
    for value in (-5.0, -1.2, 0.0, 0.7, 2.5, 9.0):
        comparison = compared(found, "conv1", 1, value)
        assert comparison.percentile == pytest.approx(100 * (values[:, 1] < value).mean(), abs=1)
        assert comparison.best == pytest.approx(values[:, 1].max())
        assert comparison.multiple == pytest.approx(value / values[:, 1].max())
        assert (comparison.photos, comparison.seldom) == (2000, False)
    assert compared(found, "conv1", 1, -5.0).percentile == 0
    scores = compared(found, "conv1", 1, 9.0).scores()
    assert scores == {"photo_percentile": 100, "photo_multiple": round(9 / float(values[:, 1].max()), 3)}


def test_equal_values_are_not_lower() -> None:
    """A picture of a unit that is 0 on 60 of 100 photos is above none of them with 0; nor is one of a unit that is always 0."""
    values = np.zeros((100, 2), np.float32)
    values[60:, 0] = np.arange(1, 41)
    found = PhotoStatistics.of({"conv1": values})
    assert [compared(found, "conv1", unit, 0.0).percentile for unit in (0, 1)] == [0, 0]
    assert compared(found, "conv1", 0, 0.5).percentile == pytest.approx(60, abs=5)
    assert 99 < compared(found, "conv1", 0, 40.0).percentile <= 100
    above = compared(found, "conv1", 1, 1e-3)
    assert (above.percentile, above.multiple) == (100, None)


def test_units_that_hardly_ever_respond() -> None:
    values = np.abs(values_of(photos=2000, units=5))
    values[:, 1] = 0
    values[7:9, 1] = 3  # on 2 of 2000
    values[:, 2] *= 0.01  # always, but faintly
    values[:, 3] = 0
    values[7:10, 3] = 3  # on 3 of 2000
    found = PhotoStatistics.of({"relu": values, "conv1": values - 1e-3, "scaled": -values})
    assert [compared(found, "relu", unit, 5.0).seldom for unit in range(5)] == [False, True, True, False, False]
    for layer in ("conv1", "scaled"):  # below 0: a small value says nothing
        assert not any(compared(found, layer, unit, 5.0).seldom for unit in range(5))
    scores = compared(found, "relu", 1, 6.0).scores()
    assert scores == {"photo_percentile": 100, "photo_multiple": 2, "photos": "hardly ever responds"}


def test_what_is_not_known_is_not_compared() -> None:
    found = PhotoStatistics.of({"conv1": values_of()})
    for layer, unit, value in (("conv2", 0, 1.0), ("conv1", 3, 1.0), ("conv1", -1, 1.0), ("conv1", 0, np.nan)):
        assert found.compare(layer, unit, value) is None


def test_a_unit_that_is_never_above_0_has_no_multiple() -> None:
    found = PhotoStatistics.of({"conv1": -1 - np.abs(values_of())})
    assert compared(found, "conv1", 0, 2.0).scores() == {"photo_percentile": 100}


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_statistics_are_of_the_embedded_networks(name: str) -> None:
    network = load_network(name)
    found = shipped_statistics(network)
    assert found is not None
    assert found.photos == 5000
    assert set(found.layers) == set(stage_layers(network))
    units = {info.name: info.units for info in network.layers()}
    levels = np.array(LEVELS)
    for layer, (quantiles, active) in found.layers.items():
        assert quantiles.shape == (units[layer], len(LEVELS))
        assert active.shape == (units[layer],)
        assert np.isfinite(quantiles).all()
        assert (np.diff(quantiles, axis=1) >= 0).all()
        for share, row in zip(active, quantiles, strict=True):  # the share above 0 fits the quantiles
            assert 100 * share >= 100 - levels[row > 1e-6].min(initial=100) - 0.1
            assert 100 * share <= 100 - levels[row < -1e-6].max(initial=0) + 0.1


def test_the_shipped_statistics_are_small() -> None:
    assert SHIPPED.stat().st_size < 2_000_000
    assert set(read_metadata(SHIPPED)) == {*NAMES, "photos"}


def test_another_network_has_no_shipped_statistics() -> None:
    for options in ({"mean": (0.1, 0.2, 0.3)}, {"std": (0.1, 0.2, 0.3)}, {"input_size": (32, 32)}):
        assert shipped_statistics(load_network("demo", **options)) is None  # type: ignore[arg-type]
    network = load_network("demo")
    key = network_key(network)
    renamed = VisionNetwork(network.module, mean=network.mean, std=network.std, input_size=(64, 64), name="mine")
    assert network_key(renamed) == key
    assert shipped_statistics(renamed) is None  # known by name first: large networks are not hashed for nothing
    network.module.fc.bias.data[0] += 1  # type: ignore[union-attr, operator, index]
    assert network_key(network) != key
    assert shipped_statistics(network) is None
