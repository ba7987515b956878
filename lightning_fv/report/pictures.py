"""Reading a run's pictures, which a user may have replaced, and writing images made from them."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.files import read_file, write_atomic
from lightning_fv.runs.opaque import opaque_rgb

COMPRESSION = 4
"""zlib's level for sheets: they are as small as at Pillow's usual 6, in a third of the time."""


def read_picture(path: Path) -> Image.Image:
    """A run's picture or frame as RGB, transparent ones over mid-grey.

    By Pillow, whose limit against decompression bombs stays in force.

    Raises:
        RunFolderError: it does not exist, is not a PNG or JPEG, is damaged, or is a decompression bomb.
    """
    try:
        with Image.open(io.BytesIO(read_file(path)), formats=["PNG", "JPEG"]) as picture:
            return opaque_rgb(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunFolderError(f"the picture {path} cannot be read: {reason}") from None


def save_atomic(path: Path, picture: Image.Image, kind: str, **options: Any) -> None:
    """Write a picture atomically.

    Args:
        path: the file.
        picture: what to write.
        kind: Pillow's name of the format, such as ``PNG``.
        options: Pillow's, for that format.

    Raises:
        OSError: it cannot be written.
    """
    content = io.BytesIO()  # Pillow would hide the disk's error behind its own
    picture.save(content, kind, **({"compress_level": COMPRESSION} if kind == "PNG" else {}), **options)
    write_atomic(path, lambda file: file.write(content.getbuffer()))
