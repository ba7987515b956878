"""Photos that excite a unit, and what of them it saw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lightning_fv.errors import UsageError
from lightning_fv.objectives import Channel, Logit
from lightning_fv.runs.folder import RunFolder
from lightning_fv.trust.examples import BEST, LEAST, crops, examples
from tests.trust.runs import network_of, one_channel, responses_of, targets_of, write_photos


class Spot(nn.Module):
    """One position of an 8x8 grid of patches of 4 px decides: with 32 px, the patch at (2, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 2, 4, 4, bias=False)
        nn.init.constant_(self.patches.weight, 1 / 48)

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x).mean((2, 3))


def test_a_crop_is_around_what_the_unit_saw() -> None:
    network = network_of(Spot(), input_size=(32, 32), categories=())
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    pixels[0, :, 8:12, 20:24] = 255
    ((left, top, right, bottom),) = crops(network, Channel("patches", 0), pixels)
    assert max(left * 32 - 20, top * 32 - 8) <= 0
    assert min(right * 32 - 24, bottom * 32 - 12) >= 0
    assert right - left <= 6 / 32
    assert bottom - top <= 6 / 32


def test_a_crop_at_a_corner_stays_in_the_photo() -> None:
    network = network_of(Spot(), input_size=(32, 32), categories=())
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    pixels[0, :, :4, 28:] = 255
    ((left, top, right, bottom),) = crops(network, Channel("patches", 1), pixels)
    assert (top, right) == (0, 1)
    assert left >= 25 / 32
    assert bottom <= 7 / 32


class Flat(Spot):
    """NaN, or no gradient."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x * self.factor).mean((2, 3))


@pytest.mark.parametrize("factor", [0.0, float("nan")])
def test_without_a_gradient_it_is_the_whole_photo(factor: float) -> None:
    network = network_of(Flat(factor), input_size=(32, 32), categories=())
    pixels = torch.full((2, 3, 32, 32), 7, dtype=torch.uint8)
    assert crops(network, Channel("patches", 0), pixels) == [(0, 0, 1, 1)] * 2
    assert crops(network, Logit(0), pixels) == [(0, 0, 1, 1)] * 2
    assert crops(network, Channel("patches", 0) - Channel("patches", 1), pixels) == [(0, 0, 1, 1)] * 2


def test_the_best_and_the_least_photos_are_kept_as_thumbnails(tmp_path: Path) -> None:
    network, photos, run = network_of(), write_photos(tmp_path / "photos", 20), RunFolder(tmp_path / "run")
    run.path.mkdir()
    (target,) = targets_of(network, "conv2:1")
    activations = responses_of(network, photos, [target]).photos
    values = activations.of(target.objective)
    assert values is not None
    values = values.copy()
    values[3] = np.nan
    best, least = examples(run, network, activations, target.objective, values)
    known = [activations.entries[row].name for row in np.argsort(values) if np.isfinite(values[row])]
    assert [example.photo for example in best] == known[::-1][:BEST]
    assert [example.photo for example in least] == known[:LEAST]
    assert [example.value for example in best] == sorted((example.value for example in best), reverse=True)
    for example in (*best, *least):
        with Image.open(run.path / example.file) as shown:
            own = Image.open(photos / example.photo)
            assert shown.size == own.size
            assert abs(np.asarray(shown, float) - np.asarray(own, float)).mean() < 20
    files = {file: file.stat().st_mtime_ns for file in run.path.rglob("*.jpg")}
    examples(run, network, activations, target.objective, values)
    assert {file: file.stat().st_mtime_ns for file in run.path.rglob("*.jpg")} == files


def test_of_grey_photos_and_of_fewer_than_are_shown(tmp_path: Path) -> None:
    network, run = one_channel(), RunFolder(tmp_path / "run")
    run.path.mkdir()
    (target,) = targets_of(network, "0:1")
    activations = responses_of(network, write_photos(tmp_path / "photos", 2), [target]).photos
    values = activations.of(target.objective)
    assert values is not None
    best, least = examples(run, network, activations, target.objective, values)
    assert (len(best), len(least)) == (2, 2)


def test_a_photo_that_is_gone_is_named(tmp_path: Path) -> None:
    network, photos, run = network_of(), write_photos(tmp_path / "photos", 3), RunFolder(tmp_path / "run")
    run.path.mkdir()
    (target,) = targets_of(network, "conv2:1")
    activations = responses_of(network, photos, [target]).photos
    values = activations.of(target.objective)
    assert values is not None
    (photos / activations.entries[1].name).unlink()
    with pytest.raises(UsageError, match=activations.entries[1].name):
        examples(run, network, activations, target.objective, values)
