from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_fv import VisionNetwork, activation_grid, load_network, render
from lightning_fv.errors import FeatureVisualizationError
from lightning_fv.objectives import Direction
from lightning_fv.photos.decode import read_photo
from tests.helpers import save_picture, smooth_photos

PHOTO = smooth_photos(64, 64)[0]


def test_each_cell_is_the_direction_of_its_activations(tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", smooth_photos(90, 120)[1])
    network = load_network("demo")
    grid = activation_grid(network, tmp_path / "photo.png", "layer4", cosine_power=2)
    with network.frozen(), torch.no_grad():
        shown = read_photo(tmp_path / "photo.png", (64, 64))[None] / 255
        maps = network.activations(shown, ["layer4"])["layer4"][0]
    assert grid.cells == [[4 * y + x for x in range(4)] for y in range(4)]
    assert list(grid) == [Direction("layer4", maps[:, y, x], cosine_power=2) for y in range(4) for x in range(4)]
    assert len(activation_grid(network, PHOTO, "layer4", size=(32, 96))) == 2 * 6


class Halves(nn.Module):
    """Its map: 0 on the left, red on the right."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 5, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(x.shape[-1]) >= x.shape[-1] / 2
        logits: torch.Tensor = self.map(x * columns).mean((2, 3))
        return logits


def test_cells_that_are_alike_are_one_target_and_empty_ones_none() -> None:
    network = VisionNetwork(Halves(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(2, 4))
    grid = activation_grid(network, torch.tensor([0.5, 0.2, 0.1]).view(3, 1, 1).expand(3, 2, 4), "map")
    assert grid.cells == [[None, None, 0, 0], [None, None, 0, 0]]
    drawn = grid.picture(torch.ones(1, 3, 3, 2))
    assert drawn.shape == (3, 6, 8)
    assert bool((drawn[..., :4] == 0.5).all())
    assert bool((drawn[..., 4:] == 1).all())
    with pytest.raises(FeatureVisualizationError, match="there are 2 pictures for 1 directions"):
        grid.picture(torch.ones(2, 3, 3, 2))


def test_what_has_no_cells_is_told_in_one_line(tmp_path: Path) -> None:
    network = load_network("demo")
    for photo, layer, told in (
        (PHOTO, "logits", "without rows and columns"),
        (PHOTO, "layer9", "no layer 'layer9'"),
        (tmp_path / "nowhere.jpg", "layer4", "cannot read the photo"),
        (PHOTO[:1], "layer4", "has 1 channels, and the network's pictures 3"),
    ):
        with pytest.raises(FeatureVisualizationError, match=told):
            activation_grid(network, photo, layer)


def test_pictures_of_cells_excite_the_layer_as_the_photo_does_there() -> None:
    network = load_network("demo")
    beacon = render(network, "logits:beacon", steps=48, progress=False).images[0]
    grid = activation_grid(network, beacon, "layer4")
    before = render(network, grid, size=32, steps=1, progress=False).scores
    rendering = render(network, grid, size=32, steps=24, progress=False)
    assert bool((rendering.scores > 2 * before).all())
    assert grid.picture(rendering.images).shape == (3, 128, 128)
    with network.frozen(), torch.no_grad():
        found = network.activations(rendering.images, ["layer4"])["layer4"].mean((2, 3))
    cosines = torch.stack([one({"layer4": found}, found) for one in grid], 1) / found.norm(dim=1, keepdim=True)
    others = (cosines.sum(1) - cosines.diagonal()) / 15
    margin = cosines.diagonal() - others
    assert float(margin.mean()) > 0.15
    assert int((margin > 0).sum()) >= 14  # of 16; which cells are hard to tell apart depends on rounding
