"""The measurement of shipped statistics, on a few pictures of noise."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lightning_fv import load_network
from lightning_fv.networks.stages import stage_layers
from lightning_fv.photos import statistics
from lightning_fv.photos.activations import photo_activations
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.photos.statistics import PhotoStatistics, shipped_statistics
from tests.helpers import noise, save_picture

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import measure_photos


def test_what_it_writes_is_read_as_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(noise(12, 3, 64, 64).sigmoid()):
        save_picture(tmp_path / "photos" / f"{number}.png", picture)
    monkeypatch.setattr(measure_photos, "NAMES", ("demo", "demo/vit"))
    monkeypatch.setattr(sys, "argv", ["", "--photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out")])
    measure_photos.main()
    assert capsys.readouterr().out.endswith(" kB, 13 layers, 12 photos\n")
    monkeypatch.setattr(statistics, "SHIPPED", tmp_path / "out")
    statistics._shipped.cache_clear()
    try:
        assert shipped_statistics(load_network("demo/plain")) is None
        for name in ("demo", "demo/vit"):
            network = load_network(name)
            found = shipped_statistics(network)
            assert found is not None
            assert found.photos == 12
            responses = photo_activations(network, PhotoFolder(tmp_path / "photos"), stage_layers(network))
            for layer, (quantiles, active) in PhotoStatistics.of(responses.layers).layers.items():
                np.testing.assert_allclose(found.layers[layer][0], quantiles, rtol=1e-3, atol=1e-6)
                np.testing.assert_allclose(found.layers[layer][1], active, atol=1e-6)
    finally:
        statistics._shipped.cache_clear()
