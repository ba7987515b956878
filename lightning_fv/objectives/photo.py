"""Objectives that compare the activations of a layer for a picture and for a photo."""

import hashlib
import os
import stat
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.objectives.base import Activations, Objective
from lightning_fv.objectives.facets import FACETS

MAX_BYTES = 2**28
"""The largest file of a photo, in bytes."""


@dataclass(frozen=True)
class Photo:
    """A photo as an objective stores it: the bytes of its file, or a tensor; equal if the digests are.

    Attributes:
        digest: of the file's bytes, or of the tensor's values.
        name: for messages.
        content: a file's bytes, or (C, H, W) in [0, 1].
    """

    digest: str
    name: str = field(compare=False)
    content: bytes | Tensor = field(compare=False, repr=False)

    @classmethod
    def of(cls, photo: str | Path | Tensor) -> "Photo":
        """The photo in a file, which is not decoded yet, or a tensor (C, H, W) in [0, 1].

        Raises:
            TargetError: the file cannot be read, or the tensor is no picture.
        """
        if isinstance(photo, Tensor):
            values = photo.detach().cpu().float().contiguous()
            in_range = photo.is_floating_point() and bool(((values >= 0) & (values <= 1)).all())  # false for NaN
            if values.ndim != 3 or not values.numel() or not in_range:
                raise TargetError(
                    f"a photo is a file or a tensor (C, H, W) of numbers in [0, 1], not {tuple(photo.shape)} of {photo.dtype}"
                )
            return cls(_digest(repr(tuple(values.shape)).encode() + values.numpy().tobytes()), "the photo", values)
        content = _content(photo)
        return cls(_digest(content), f"the photo {photo}", content)


class PhotoObjective(Objective):
    """Base class of objectives that read the activations of one layer for the picture and for a photo.

    The photo is resized and cropped to the size of the picture and passes through the same transforms with the same random
    numbers, so that both show the same part at the same angle.

    Only classes that define ``kind`` themselves have a target text and are stacked whatever their photos: a subclass of one of
    them computes something else.

    Args:
        layer: layer name.
        photo: a file in any raster format that Pillow reads, or (C, H, W) in [0, 1].
        digest: the photo's expected ``digest``; a file with any other photo is refused.

    Raises:
        TargetError: there is no such photo, or it does not match the digest.
    """

    kind: ClassVar[str]
    """What stands before the colon of a target's text."""

    def __init__(self, layer: str, photo: str | Path | Tensor, digest: str | None = None) -> None:
        self._given = Photo.of(photo)
        self.layer = layer
        self.photo = None if isinstance(photo, Tensor) else str(photo)
        self.digest = self._given.digest
        if digest not in (None, self.digest):
            raise TargetError(f"{self._given.name} has changed: its digest is {self.digest}, not {digest}")

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    @property
    def photos(self) -> frozenset[tuple[str, Photo | None]]:
        return frozenset({(self.layer, self._given)})

    def text(self, categories: Sequence[str] = ()) -> str:
        """The target text ``kind:FILE@LAYER`` if that can be parsed back; else the ``repr``."""
        if not self._has_kind or self.photo is None:
            return repr(self)
        text = f"{self.kind}:{self.photo}@{self.layer}"
        readable = "+" not in text and "@" not in self.layer and text == text.strip() and not FACETS.fullmatch(text)
        return text if readable else repr(self)

    @property
    def stack_key(self) -> Hashable:
        return (type(self), self.layer) if self._has_kind else super().stack_key

    @property
    def _has_kind(self) -> bool:
        return "kind" in vars(type(self))

    def features(self, activations: Activations) -> tuple[Tensor, Tensor]:
        """Activations of the picture and of its photo, (B, C, P) each, P positions, float32."""
        return compared(activations, self.layer, self._given)


def compared(activations: Activations, layer: str, photo: Photo | None) -> tuple[Tensor, Tensor]:
    """A layer's activations for the pictures and for their photos, or for the pictures that they started from, (B, C, P) each, float32."""
    found = activations[layer], activations[activations_of(layer, photo)]
    one, other = (tensor.reshape(*tensor.shape[:2], -1).float() for tensor in found)
    return one, other


def activations_of(layer: str, photo: Photo | None) -> str:
    """The name of a layer's activations for the photo of a picture, or for the picture that it started from (None)."""
    return f"{layer} of the {kind_of(photo)}"


def kind_of(photo: Photo | None) -> str:
    """``photo``, or ``start`` for None."""
    return "start" if photo is None else "photo"


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _content(path: str | Path) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a device or pipe may never end
            raise TargetError(f"cannot read the photo {path}: it is not a file")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter for a null character
        raise TargetError(f"cannot read the photo {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise TargetError(f"the photo {path} has more than {MAX_BYTES >> 20} MiB; give a smaller one")
    return content
