"""The grid of pictures that TensorBoard and the film share."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_fv import FeatureVisualizer, load_network, resolve_targets
from lightning_fv.optimization import preview as module
from lightning_fv.optimization.preview import preview


@pytest.fixture
def visualizer() -> FeatureVisualizer:
    network = load_network("demo")
    return FeatureVisualizer(size=(24, 32)).bind(network, resolve_targets("logits:0-4", network))


def test_the_first_pictures_stand_row_by_row(visualizer: FeatureVisualizer) -> None:
    shown = preview(visualizer, 3, 200)
    assert shown is not None
    assert shown.pixels.shape == (
        3,
        2 * (24 + 2) + 2,
        2 * (32 + 2) + 2,
    )  # two columns, with a margin of 2 px around each
    pictures = (visualizer.pictures() * 255).round().to(torch.uint8)
    assert torch.equal(shown.pixels[:, 2:26, 2:34], pictures[0])
    assert torch.equal(shown.pixels[:, 2:26, 36:68], pictures[1])
    assert torch.equal(shown.pixels[:, 28:52, 2:34], pictures[2])
    assert bool((shown.pixels[:, :2] == 255).all())


def test_thumbnails_keep_their_shape(visualizer: FeatureVisualizer) -> None:
    shown = preview(visualizer, 1, 16)
    assert shown is not None
    assert shown.pixels.shape == (3, 12, 16)  # make_grid gives a single picture no margin


def test_it_is_made_and_encoded_once_while_the_pictures_stay(
    visualizer: FeatureVisualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = module.encode_jpeg
    monkeypatch.setattr(module, "encode_jpeg", lambda pixels: (encoded.append(1), encode(pixels))[1])
    one, other, small = (preview(visualizer, pictures, side) for pictures, side in ((5, 200), (16, 128), (16, 8)))
    assert one is not None
    assert one is other
    assert one is not small
    shown = np.asarray(Image.open(io.BytesIO(one.jpeg())))
    assert one.jpeg() is one.jpeg()
    assert len(encoded) == 1
    assert np.abs(shown.transpose(2, 0, 1).astype(int) - one.pixels.numpy()).mean() < 6
    with torch.no_grad():
        visualizer.parameterization.values.add_(0.1)
    assert preview(visualizer, 5, 200) is not one
    visualizer.resize((30, 40))
    grown = preview(visualizer, 5, 200)
    assert grown is not None
    assert grown.pixels.shape[1:] != one.pixels.shape[1:]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_there_is_none_of_what_would_look_black(visualizer: FeatureVisualizer, value: float) -> None:
    with torch.no_grad():
        visualizer.parameterization.values[1] = value
    assert preview(visualizer, 5, 200) is None
    assert preview(visualizer, 1, 200) is not None
