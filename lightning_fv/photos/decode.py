"""Photos from files, decoded, resized and cropped as networks see them."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lightning_fv.errors import FeatureVisualizationError, UsageError, first_line
from lightning_fv.functional import resize_images
from lightning_fv.objectives.photo import MAX_BYTES, Photo
from lightning_fv.runs.files import open_file

MAX_PIXELS = 2**27
"""The most pixels of a photo; Pillow's own limit against decompression bombs is a third larger."""

_GREY = (128, 128, 128, 255)


def check_photo(path: str | Path) -> None:
    """Check that a file begins like a picture that `read_photo` takes; costs no more than reading its header.

    Raises:
        UsageError: there is no such file, or it is no picture or too large a one.
    """
    with _opened(path) as file, _picture(file, f"start: {path}"):
        pass


def read_photo(path: str | Path, size: tuple[int, int], channels: int = 3) -> Tensor:
    """A photo, resized and cropped as networks see photos: by torchvision's ``Resize`` and ``CenterCrop``.

    The camera's orientation (EXIF) is applied, of an animation the first frame is taken, what is transparent becomes mid grey, 16
    bits become 8, CMYK becomes RGB. Colour profiles are ignored, as by torchvision. The resize is bilinear and antialiased: the
    picture just covers ``size``, and what is over on two sides is cut off.

    Args:
        path: any raster format that Pillow reads.
        size: (height, width) in pixels.
        channels: of the network's pictures: 3 for RGB, 1 for grey.

    Returns:
        (channels, *size), uint8.

    Raises:
        UsageError: the file cannot be read, is no picture, is damaged, or is too large; the message names it.
    """
    with _opened(path) as file:
        return decode_photo(file, size, channels, f"start: {path}")


def photo_pixels(photo: Photo, size: tuple[int, int], channels: int) -> Tensor:
    """A photo that an objective holds: a file's as by `read_photo`, a tensor's stretched to ``size``.

    Args:
        photo: the photo.
        size: (height, width) in pixels.
        channels: of the network's pictures.

    Returns:
        (channels, *size), float32 in [0, 1].

    Raises:
        UsageError: it is no picture, is damaged or too large, or has other channels than the network's pictures.
    """
    if isinstance(photo.content, bytes):
        return decode_photo(io.BytesIO(photo.content), size, channels, photo.name) / 255
    if len(photo.content) != channels:
        raise UsageError(f"{photo.name} has {len(photo.content)} channels, and the network's pictures {channels}")
    return resize_images(photo.content[None], size)[0].clamp(0, 1)


def decode_photo(file: BinaryIO, size: tuple[int, int], channels: int, name: str) -> Tensor:
    """A photo from an open file, resized and cropped as by `read_photo`.

    Args:
        file: its bytes.
        size: (height, width) in pixels.
        channels: of the network's pictures: 3 for RGB, 1 for grey.
        name: begins the messages.

    Returns:
        (channels, *size), uint8.

    Raises:
        UsageError: it is no picture, is damaged, or is too large.
    """
    if channels not in (1, 3):
        raise UsageError(
            f"{name}: a photo has 3 colours, and the network's pictures have {channels} channels; give a tensor in Python"
        )
    with _picture(file, name) as picture:
        kind, mode = picture.format, "RGB" if channels == 3 else "L"
        ImageOps.exif_transpose(picture, in_place=True)
        picture = _in_8_bits(picture, kind, name)
        picture = picture if picture.mode == mode else picture.convert(mode)  # a copy of half a gigabyte, at worst
        height, width = size
        scale = max(height / picture.height, width / picture.width)
        if picture.height * scale * picture.width * scale > MAX_PIXELS:
            raise UsageError(
                f"{name}: {picture.width} x {picture.height} pixels are too narrow to cover {width} x {height}; crop it"
            )
        if picture.size != (width, height):
            picture = picture.resize(_covering((picture.height, picture.width), size), Image.Resampling.BILINEAR)
            left, top = round((picture.width - width) / 2.0), round((picture.height - height) / 2.0)
            picture = picture.crop((left, top, left + width, top + height))
        pixels = np.asarray(picture)
    return torch.from_numpy(pixels.reshape(height, width, channels).transpose(2, 0, 1).copy())


def _covering(photo: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a photo (height, width) that just covers a size (height, width); rounded as by torchvision."""
    if photo[0] * size[1] <= photo[1] * size[0]:
        return max(size[1], size[0] * photo[1] // photo[0]), size[0]
    return size[1], max(size[0], size[1] * photo[0] // photo[1])


def _in_8_bits(picture: Image.Image, kind: str | None, name: str) -> Image.Image:
    """A picture without transparency, of 8 bits per colour.

    Args:
        picture: in any of Pillow's modes.
        kind: the file's format: mode I means 16 bits in some, 32 in others.
        name: begins the error.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(picture).astype(np.float32) / 257).round().astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise UsageError(f"{name}: numbers of 32 bits have no known range of brightness; save it with 8 or 16 bits")
    if picture.has_transparency_data:  # over grey, which noise varies around, and which can become darker and lighter
        return Image.alpha_composite(Image.new("RGBA", picture.size, _GREY), picture.convert("RGBA"))
    return picture


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to start from; what prevents it is a UsageError that names it."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length > MAX_BYTES:
                raise UsageError(f"start: {path} has {length / 2**20:.0f} MiB; give one of at most {MAX_BYTES >> 20}")
            yield file
    except FileNotFoundError:
        raise UsageError(f"start: {path}: no such file; give a picture to start from") from None
    except (OSError, ValueError) as error:  # the latter for a null character
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(f"start: {path} cannot be read as a picture: {reason}") from None


@contextlib.contextmanager
def _picture(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """Open a picture; whatever its decoder raises inside becomes a UsageError that begins with its name."""
    try:
        with Image.open(file) as picture:
            if picture.format == "EPS":  # Pillow would start Ghostscript
                raise UsageError(f"{name} is a PostScript file; save it as PNG or JPEG")
            if picture.width * picture.height > MAX_PIXELS:
                raise UsageError(
                    f"{name} has {picture.width} x {picture.height} pixels; give one of at most {MAX_PIXELS // 10**6} million"
                )
            yield picture
    except FeatureVisualizationError:
        raise
    except UnidentifiedImageError:
        raise UsageError(f"{name} is not a picture in a format that Pillow reads") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(f"{name} cannot be read as a picture: {reason}") from None
