"""Reading pictures that a run left, or that somebody put in their place, and writing what is drawn of them."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.files import write_atomic


def read_picture(path: Path) -> Image.Image:
    """A run's picture or frame as RGB, by Pillow, whose limit against decompression bombs stays in force.

    Raises:
        RunFolderError: it is not there, is no PNG or JPEG, is damaged, or is a decompression bomb.
    """
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunFolderError(f"the picture {path} cannot be read: {reason}") from None


def save_atomic(path: Path, picture: Image.Image, kind: str, **options: Any) -> None:
    """Write a picture whole or not at all.

    Args:
        path: the file.
        picture: what to write.
        kind: Pillow's name of the format, such as ``PNG``.
        options: of that format.

    Raises:
        OSError: the disk does not take it.
    """
    content = io.BytesIO()  # Pillow hides what a disk has against its file behind an error of its own
    picture.save(content, kind, **options)
    write_atomic(path, lambda file: file.write(content.getbuffer()))
