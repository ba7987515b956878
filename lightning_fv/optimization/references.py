"""The pictures that rendered ones are compared with: photos that objectives hold, and the pictures that a render starts from."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_fv.errors import TargetError, UsageError
from lightning_fv.functional import resize_images
from lightning_fv.objectives import Objective
from lightning_fv.objectives.photo import Photo
from lightning_fv.photos.decode import photo_pixels
from lightning_fv.targets import Target

Pictures: TypeAlias = Mapping[str, Tensor]
"""What a batch is compared with: ``photo`` and ``start``, if they are read, (B, C, H, W) each."""

NO_REFERENCES: Pictures = MappingProxyType({})


class References:
    """A photo and a picture that the render started from, for each target of a batch that reads them.

    Args:
        targets: one per picture.
        penalties: those of the recipe.
        start: (B, C, H, W) in [0, 1], what the pictures start from, or None.
        channels: of the network's pictures.

    Attributes:
        start: whether it is read or not.

    Raises:
        TargetError: a target reads several photos.
        UsageError: something reads what the pictures started from, and they start from noise.
    """

    def __init__(
        self, targets: Sequence[Target], penalties: Sequence[Objective], start: Tensor | None, channels: int
    ) -> None:
        common = frozenset[tuple[str, Photo | None]]().union(*(penalty.photos for penalty in penalties))
        self._photos: list[Photo | None] = []
        self.start, self._reads_start, self._channels = start, False, channels
        self._known: tuple[object, dict[str, Tensor]] = None, {}
        for target in targets:
            read = {photo for _, photo in target.objective.photos | common}
            if None in read and start is None:
                reader = next((type(penalty).__name__ for penalty in penalties if penalty.photos), target.text)
                raise UsageError(
                    f"{reader} compares pictures with those that they start from, and they start from noise; "
                    "give --start FILE, or start= in Python"
                )
            self._reads_start |= None in read
            given = sorted(filter(None, read), key=lambda photo: photo.digest)
            if len(given) > 1:
                names = " and ".join(photo.name for photo in given)
                raise TargetError(f"{target.text} compares one picture with {names}; one of them can be the start")
            self._photos.append(given[0] if given else None)

    def check(self, size: tuple[int, int]) -> None:
        """Decode every photo once.

        Args:
            size: (height, width) of the pictures in pixels.

        Raises:
            UsageError: one is no picture.
        """
        for photo in {photo for photo in self._photos if photo is not None}:
            photo_pixels(photo, size, self._channels)

    def at(self, size: tuple[int, int], device: torch.device) -> dict[str, Tensor]:
        """The photos and the starts, under ``photo`` and ``start`` if any target reads them, (B, C, *size) in [0, 1].

        Where a target has no photo, grey. They are made once for each size.

        Args:
            size: (height, width) of the pictures in pixels.
            device: of the pictures.

        Raises:
            UsageError: a photo is no picture.
        """
        if self._known[0] != (size, device):
            found = {}
            if any(self._photos):
                grey = torch.full((self._channels, *size), 0.5)
                made = {photo: photo_pixels(photo, size, self._channels) for photo in self._photos if photo is not None}
                found["photo"] = torch.stack([grey if photo is None else made[photo] for photo in self._photos])
            if self.start is not None and self._reads_start:
                found["start"] = resize_images(self.start, size).clamp(0, 1)
            self._known = (size, device), {kind: pictures.to(device) for kind, pictures in found.items()}
        return self._known[1]
