"""The photos that a run starts from: read from their files, kept in the run folder, and read from there when it is resumed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_fv.engines.checks import check_options
from lightning_fv.engines.isolation import ignored_warnings
from lightning_fv.engines.plan import Setup
from lightning_fv.errors import RunFolderError, UsageError
from lightning_fv.photos.decode import check_photo, read_photo
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.start_photo import StartPhoto, pixel_digest, read_pixels, write_pixels

_BOMB = ".*could be decompression bomb.*"  # Pillow's warning below its limit; `read_photo` has a lower one


def start_paths(start: Any) -> list[str]:
    """What `lightning_fv.render` takes for photos, a path or a sequence of paths, as a list that is not empty.

    Raises:
        UsageError: it is something else.
    """
    paths = [start] if isinstance(start, str | Path) else list(start)
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        kinds = ", ".join(sorted({type(path).__name__ for path in paths})) or "nothing"
        raise UsageError(f"start is a list of {kinds}; give paths of photos, or one tensor (B, C, H, W) in [0, 1]")
    return [str(path) for path in paths]


def check_start_photos(texts: Sequence[str]) -> None:
    """Check the files of photos as far as that needs no network and little time.

    Args:
        texts: paths, or what `StartPhoto.text` returns, which may be in the run folder and is not checked.

    Raises:
        UsageError: there are none, or one is no file of a picture.
    """
    if not texts:
        raise UsageError("start: no file; give one for all targets, or one for each")
    with ignored_warnings(_BOMB):
        for photo in map(StartPhoto.parse, texts):
            if not photo.digest:
                check_photo(photo.file)


def starting_from(setup: Setup, texts: Sequence[str], folder: RunFolder | None = None) -> Setup:
    """The same, with photos to start from, as large as the pictures grow.

    Args:
        setup: without pictures to start from.
        texts: see `read_start_photos`.
        folder: of a run that was started.

    Raises:
        UsageError: a file cannot be read as a picture, or has changed; or as `check_options`.
        RunFolderError: the run folder has lost a photo, and its file is no longer there either.
    """
    check_options(setup)
    start, photos = read_start_photos(texts, setup.largest_size, setup.network.channels, folder)
    return replace(setup, start=start, photos=photos)


def read_start_photos(
    texts: Sequence[str], size: tuple[int, int], channels: int, folder: RunFolder | None = None
) -> tuple[Tensor, tuple[StartPhoto, ...]]:
    """Photos to start from.

    Args:
        texts: paths, or what `StartPhoto.text` returns: then the photo is taken from the run folder, or else must have the
            same pixels as when that was written.
        size: (height, width) in pixels.
        channels: of the network's pictures.
        folder: of a run that was started.

    Returns:
        (B, channels, *size), float32, multiples of 1/255; and what to call them.

    Raises:
        UsageError: a file cannot be read as a picture, or has changed.
        RunFolderError: the run folder has lost a photo, and its file is no longer there either.
    """
    rows, photos = [], []
    with ignored_warnings(_BOMB):
        for named in map(StartPhoto.parse, texts):
            pixels = _kept(folder, named) if folder is not None and named.digest else None
            if pixels is None:
                try:
                    pixels = read_photo(named.file, size, channels)
                except UsageError as error:
                    if folder is None or not named.digest:
                        raise
                    raise RunFolderError(
                        f"{folder} has lost the photo {named.file} that it starts from ({error})"
                    ) from None
            photo = StartPhoto(named.file, pixel_digest(pixels))
            if named.digest not in ("", photo.digest):
                raise UsageError(
                    f"start: {named.file} was changed, or the size of the pictures was: its pixels have the digest {photo.digest}, "
                    f"not {named.digest}; give the file alone to take it as it is now"
                )
            rows.append(pixels)
            photos.append(photo)
    return torch.stack(rows).float() / 255, tuple(photos)


def keep_start_photos(folder: RunFolder, setup: Setup) -> None:
    """Keep the photos that a run starts from, if any, in its folder, so that it can be resumed without their files.

    Args:
        folder: the run's, with its jobs registered.
        setup: with what `read_start_photos` returned.

    Raises:
        RunFolderError: they cannot be written.
    """
    if not setup.photos or setup.start is None:
        return
    try:
        for photo, picture in zip(setup.photos, setup.start, strict=True):
            file = folder.start_photo(photo.digest)
            if _kept(folder, photo) is None:
                write_pixels(file, (picture * 255).round().byte())
    except OSError as error:
        raise RunFolderError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None


def _kept(folder: RunFolder, photo: StartPhoto) -> Tensor | None:
    """A photo as a run folder keeps it; None if it is not there, or not what it was."""
    pixels = read_pixels(folder.start_photo(photo.digest))
    return pixels if pixels is not None and pixel_digest(pixels) == photo.digest else None
