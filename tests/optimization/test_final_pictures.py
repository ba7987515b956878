"""Finished pictures: as the visualizer has them, and encoded once."""

import io
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_fv import FeatureVisualizer, VisionNetwork, resolve_targets
from lightning_fv.optimization import final_pictures as module
from lightning_fv.optimization.final_pictures import final_pictures
from lightning_fv.parameterizations import Alpha, Parameterization, Pixel
from tests.helpers import TinyNet


def bound(parameterization: Parameterization) -> FeatureVisualizer:
    network = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))
    return FeatureVisualizer(parameterization).bind(network, resolve_targets("logits:0-1", network))


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_they_are_those_of_the_visualizer_until_it_changes_them() -> None:
    visualizer = bound(Pixel(sd=0.5))
    final = final_pictures(visualizer)
    assert torch.equal(final.images, visualizer.pictures())
    assert final_pictures(visualizer) is final
    with torch.no_grad():
        visualizer.parameterization.values[1] += 1
    changed = final_pictures(visualizer)
    assert torch.equal(changed.images, visualizer.pictures())
    assert not torch.equal(changed.images[1], final.images[1])
    visualizer.resize((30, 25))
    assert final_pictures(visualizer).images.shape == (2, 3, 30, 25)


def test_file_and_preview_of_an_opaque_picture_are_encoded_once() -> None:
    final = final_pictures(bound(Pixel(sd=0.5)))
    with mock.patch.object(module, "encode_png", wraps=module.encode_png) as encode:
        assert final.preview(1) is final.file(1) is final.preview(1)
    assert encode.call_count == 1
    pixels = (final.images[1] * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(opened(final.file(1))), pixels)


def test_a_transparent_picture_is_shown_over_grey() -> None:
    final = final_pictures(bound(Alpha()))
    file, preview = opened(final.file(0)), opened(final.preview(0))
    assert (file.mode, preview.mode) == ("RGBA", "RGB")
    np.testing.assert_array_equal(np.asarray(file)[..., 3], (final.shown[0, 3] * 255).round().byte().numpy())
    np.testing.assert_array_equal(np.asarray(preview), (final.images[0] * 255).round().byte().permute(1, 2, 0).numpy())


def test_a_picture_that_is_not_finite_is_told() -> None:
    visualizer = bound(Pixel(sd=0.5))
    with torch.no_grad():
        visualizer.parameterization.values[0, 1, 2, 3] = torch.nan
    final = final_pictures(visualizer)
    assert final.finite == [False, True]
    with pytest.raises(ValueError, match="NaN"):
        final.file(0)
