"""Activation grids: what a layer finds in each part of a photo."""

from pathlib import Path

import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import Direction
from lightning_fv.objectives.photo import Photo
from lightning_fv.photos.decode import photo_pixels


class ActivationGrid(list[Direction]):
    """The directions of the activations of a photo, to be rendered as targets; made by `activation_grid`.

    Cells with the same activations share a direction, and cells whose activations are all 0 have none.

    Attributes:
        cells: for each row and column of the layer's map, the number of its direction, or None.
    """

    def __init__(self, directions: list[Direction], cells: list[list[int | None]]) -> None:
        super().__init__(directions)
        self.cells = cells

    def picture(self, images: Tensor) -> Tensor:
        """One picture of all cells.

        Args:
            images: (N, C, H, W), one for each direction, such as those of a `lightning_fv.Rendering`.

        Returns:
            (C, rows * H, columns * W), grey where a cell has no direction.
        """
        if len(images) != len(self):
            raise TargetError(f"there are {len(images)} pictures for {len(self)} directions; render all of them")
        grey = torch.full_like(images[0], 0.5)
        rows = [torch.cat([grey if n is None else images[n] for n in row], dim=2) for row in self.cells]
        return torch.cat(rows, dim=1)


def activation_grid(
    network: VisionNetwork,
    photo: str | Path | Tensor,
    layer: str,
    size: tuple[int, int] | None = None,
    cosine_power: float = 1.0,
) -> ActivationGrid:
    """The direction of a layer's activations at each position of a photo (Olah et al. 2018, "The Building Blocks of
    Interpretability": activation grids).

    >>> import lightning_fv
    >>> network = lightning_fv.load_network("demo")
    >>> grid = lightning_fv.activation_grid(network, "photo.jpg", "layer3")  # doctest: +SKIP
    >>> picture = grid.picture(lightning_fv.render(network, grid, size=32).images)  # doctest: +SKIP

    Args:
        network: shows the photo to itself without transforms.
        photo: a file in any raster format that Pillow reads, or (C, H, W) in [0, 1].
        layer: a layer whose output is (B, C, H, W).
        size: (height, width) at which the network sees the photo; default: its training size.
        cosine_power: of the directions, see `Direction`; with 0, strong channels dominate all cells.

    Raises:
        FeatureVisualizationError: the network has no such layer, or it has no map; or there is no such photo.
    """
    pixels = photo_pixels(Photo.of(photo), size or network.input_size, network.channels)
    with network.frozen(), torch.no_grad():
        activations = network.activations(pixels[None].to(network.device), [layer])[layer][0].float().cpu()
    if activations.ndim != 3:
        raise TargetError(f"layer {layer!r} outputs {(1, *activations.shape)} for a photo, without rows and columns")
    directions: dict[str, Direction] = {}
    cells: list[list[int | None]] = []
    for row in activations.permute(1, 2, 0):
        found = [Direction(layer, vector, cosine_power=cosine_power) if vector.any() else None for vector in row]
        directions |= {one.key: one for one in found if one is not None and one.key not in directions}
        numbers = {key: number for number, key in enumerate(directions)}
        cells.append([None if one is None else numbers[one.key] for one in found])
    return ActivationGrid(list(directions.values()), cells)
