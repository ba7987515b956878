"""What stages of a network respond to pictures and photos."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_fv.errors import NetworkError
from lightning_fv.trust.responses import BATCH, _scale
from tests.helpers import TinyNet, noise
from tests.trust.runs import SIZE, network_of, one_channel, pixels_of, responses_of, targets_of, write_photos


def test_means_and_scale_are_those_of_capture(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    network = network_of()
    responses = responses_of(network, photos)
    pictures = pixels_of(photos)
    assert responses.stages[-1] == "logits"
    with torch.no_grad():
        expected = network.capture(pictures, responses.stages)
    found = responses.means(pictures, responses.stages)
    for stage in responses.stages:
        means = expected[stage].mean((2, 3)) if expected[stage].ndim == 4 else expected[stage]
        assert torch.allclose(found[stage], means, atol=1e-5)
        assert torch.allclose(responses.of_photos(np.arange(len(pictures)), [stage])[stage], means, atol=1e-5)
        mean, std = responses.scale[stage]
        assert torch.allclose(mean, means.mean(0), atol=1e-5)
        assert torch.allclose(std, means.std(0, correction=0), atol=1e-5)


def test_photos_are_given_in_the_order_asked_for(tmp_path: Path) -> None:
    responses = responses_of(network_of(), write_photos(tmp_path / "photos"))
    rows = np.array([7, 3, 99, 3])
    assert np.array_equal(responses.of_photos(rows, ["conv1"])["conv1"], responses.photos.layers["conv1"][rows])


def test_features_have_length_one_and_every_stage_the_same_share(tmp_path: Path) -> None:
    responses = responses_of(network_of(), write_photos(tmp_path / "photos"))
    features = responses.features(responses.of_photos(np.arange(100), responses.stages), responses.stages)
    assert torch.allclose(features.norm(dim=1), torch.ones(100), atol=1e-5)
    first = features[:, : responses.photos.layers[responses.stages[0]].shape[1]]
    assert torch.allclose(first.norm(dim=1), torch.full((100,), len(responses.stages) ** -0.5), atol=1e-5)


def test_a_channel_that_no_photo_moves_counts_for_nothing() -> None:
    """It would be divided by nothing, and decide the features of a picture that excites it."""
    values = noise(50, 3).numpy()
    values[:, 1] = 0.1
    values[:, 2] += 1e3
    mean, std = _scale(values)
    assert std[1] == torch.inf
    assert torch.isfinite(std[[0, 2]]).all()
    assert (5 - mean[1]) / std[1] == 0


def test_a_channel_that_is_not_finite_for_one_photo_has_no_scale() -> None:
    values = noise(50, 4).numpy()
    values[7, 1], values[7, 2] = np.nan, np.inf
    mean, std = _scale(values)
    assert mean.isnan().tolist() == std.isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("layers", "stages"),
    [
        ({"conv1"}, ["conv1"]),
        ({"relu"}, ["conv1", "bn"]),
        ({"conv2"}, ["conv1", "bn", "conv2"]),
        ({"conv1#0"}, ["conv1"]),
        (("conv1", "logits"), ["conv1", "bn", "conv2", "logits"]),
        ((), ["conv1", "bn", "conv2"]),
    ],
    ids=str,
)
def test_the_path_to_a_unit_ends_with_its_layer(layers: Collection[str], stages: list[str], tmp_path: Path) -> None:
    responses = responses_of(network_of(), write_photos(tmp_path / "photos", 4))
    assert responses.before(layers) == [stage for stage in stages if stage in responses.stages]


def test_pictures_of_other_sizes_and_channels_are_shown_as_photos_are(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 4)
    colour, grey = responses_of(network_of(), photos), responses_of(one_channel(), photos)
    picture = torch.rand(1, 3, 2 * SIZE[0], 2 * SIZE[1], generator=torch.Generator().manual_seed(0))
    assert colour.means(picture, ["conv1"])["conv1"].shape == (1, 8)
    plain = torch.full((1, 1, *SIZE), 0.25)
    same = colour.means(plain.expand(-1, 3, -1, -1), ["conv1"])["conv1"]
    assert torch.equal(colour.means(plain, ["conv1"])["conv1"], same)
    alike = grey.means(plain.expand(-1, 3, -1, -1), ["logits"])["logits"]
    assert torch.allclose(grey.means(plain, ["logits"])["logits"], alike, atol=1e-5)
    with pytest.raises(NetworkError):
        colour.means(torch.rand(1, 4, *SIZE), ["conv1"])


def test_many_pictures_pass_in_parts(tmp_path: Path) -> None:
    responses = responses_of(
        network_of(TinyNet()), write_photos(tmp_path / "photos", 4), targets_of(network_of(), "conv1:0")
    )
    pictures = torch.rand(BATCH + 3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    found = responses.means(pictures, ["conv1", "logits"])
    assert found["conv1"].shape == (BATCH + 3, 8)
    assert torch.allclose(found["logits"][-1:], responses.means(pictures[-1:], ["logits"])["logits"], atol=1e-5)
