"""Pictures as encoded bytes, and as files that carry their provenance."""

import io
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo, putchunk
from torch import Tensor

from lightning_fv.errors import RunFolderError, UsageError, first_line
from lightning_fv.functional import to_uint8
from lightning_fv.runs.digests import digest
from lightning_fv.runs.files import read_file, write_atomic
from lightning_fv.runs.opaque import opaque_rgb
from lightning_fv.runs.record import Record
from lightning_fv.version import __version__

CHUNK = "lightning_fv"
"""Keyword of the PNG text chunk: JSON of the picture's record, recipe, versions and origin."""


@dataclass(frozen=True)
class Origin:
    """What makes a picture again, from its file.

    Attributes:
        file: the picture.
        target: what it shows.
        versions: by package, those that it was made with.
        job: the id of the job that it was rendered in.
        digest: of the network's weights.
        config: the settings of that job, as in a config file; None if they cannot be written down.
        reason: why not.
    """

    file: Path
    target: str
    versions: dict[str, str]
    job: str
    digest: str
    config: dict[str, Any] | None = None
    reason: str = ""


_HEADER = 8 + 25
"""Bytes of a PNG's signature and its first chunk, IHDR."""


def encode_png(pixels: Tensor) -> bytes:
    """PNG of (3, H, W) bytes, or of (4, H, W) with an opacity."""
    file = io.BytesIO()
    _image(pixels).save(file, "PNG")
    return file.getvalue()


def encode_picture(picture: Tensor, opaque: bool = True) -> bytes:
    """PNG of a picture.

    Args:
        picture: (C, H, W) in [0, 1], or with an opacity as a further channel.
        opaque: whether it has no opacity.

    Raises:
        ValueError: the picture contains NaN or infinite values.
    """
    if opaque:
        return encode_png(to_uint8(picture))
    return encode_png(torch.cat([to_uint8(picture[:-1]), to_uint8(picture[-1:])[:1]]))


def encode_jpeg(pixels: Tensor, quality: int = 92) -> bytes:
    """JPEG of (3, H, W) bytes: for previews, ten times as fast as PNG."""
    file = io.BytesIO()
    _image(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def _image(pixels: Tensor) -> Image.Image:
    # NumPy, not torch: a torch operation on a logging thread would start a second pool of compute threads.
    return Image.fromarray(np.ascontiguousarray(pixels.numpy().transpose(1, 2, 0)))


def write_picture(
    path: Path,
    picture: Tensor,
    record: Record,
    recipe: dict[str, Any],
    opaque: bool = True,
    origin: dict[str, Any] | None = None,
) -> str:
    """`write_encoded` of `encode_picture`."""
    return write_encoded(path, encode_picture(picture, opaque), record, recipe, origin)


def write_encoded(
    path: Path, png: bytes, record: Record, recipe: dict[str, Any], origin: dict[str, Any] | None = None
) -> str:
    """Write a picture atomically, with its provenance.

    Args:
        path: the file.
        png: from `encode_picture`.
        record: its record.
        recipe: plain values that describe how it was made.
        origin: what makes it again, for `read_origin`: ``job``, ``digest``, and ``config`` or ``reason`` of an `Origin`.

    Returns:
        The digest of the file's bytes, for `Record.sign`.
    """
    versions = {"lightning_fv": __version__, "torch": torch.__version__, "python": platform.python_version()}
    info = PngInfo()
    # Nothing that the same job would not give again: its file has the same bytes then. Nor can a file hold its own digest.
    info.add_text(
        CHUNK, json.dumps({"record": record.reproducible(), "recipe": recipe, "versions": versions, "origin": origin})
    )
    content = with_info(png, info)
    write_atomic(path, lambda file: file.write(content))
    return digest(content)


def with_info(png: bytes, info: PngInfo) -> bytes:
    """A PNG with text chunks, as Pillow would have written it with them, without encoding it again."""
    file = io.BytesIO()
    file.write(png[:_HEADER])
    for kind, data, *_ in info.chunks:
        putchunk(file, kind, data)
    file.write(png[_HEADER:])
    return file.getvalue()


def read_origin(path: Path) -> Origin:
    """What makes a picture again, from a file of `write_picture`.

    Raises:
        UsageError: it cannot be read, or was not written by a run.
    """
    try:
        with Image.open(io.BytesIO(read_file(path)), formats=["PNG"]) as file:
            text = file.info.get(CHUNK)
        if text is None:
            raise UsageError(
                f"{path} does not say how it was made: it is not a picture from a run, or was saved again by another program"
            )
        chunk = json.loads(text)
        return Origin(path, str(chunk["record"]["target"]), dict(chunk["versions"]), **chunk["origin"])
    except OSError as error:
        raise UsageError(f"cannot read the picture {path}: {error.strerror or 'it is not a PNG file'}") from None
    except (SyntaxError, ValueError, RecursionError, Image.DecompressionBombError) as error:
        raise UsageError(f"the picture {path} is damaged ({first_line(error)})") from None
    except (TypeError, KeyError, AttributeError):
        raise UsageError(
            f"{path} does not say how it was made: it was written by lightning_fv, but not by a run; give a picture of a run (rendering.save "
            "and VisualizeDuringTraining write none: use render with out=FOLDER, for a training with the network of its checkpoint)"
        ) from None


def read_picture_tensor(path: Path) -> Tensor:
    """The pixels in a file of `write_picture`, (3, H, W) in [0, 1]: multiples of 1/255, transparent ones over mid-grey.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    try:
        with Image.open(io.BytesIO(read_file(path)), formats=["PNG"]) as file:
            pixels = np.asarray(opaque_rgb(file))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RunFolderError(
            f"the picture {path} cannot be read ({first_line(error)}); delete it to render it again"
        ) from None
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
