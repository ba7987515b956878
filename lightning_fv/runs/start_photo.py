"""The photos that a run starts from, as its settings name them and as its folder keeps them."""

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_fv.runs.digests import digest
from lightning_fv.runs.files import read_file, write_atomic

_TEXT = re.compile(r"(?P<file>.+) \(pixels (?P<digest>[0-9a-f]{32})\)", re.DOTALL)


class StartPhoto(NamedTuple):
    """A photo that pictures start from."""

    file: str
    """Its path, as given."""
    digest: str
    """Of its pixels, as they are started from."""

    @property
    def text(self) -> str:
        """As the run's settings name it: ``photos/cat.jpg (pixels 0123456789abcdef0123456789abcdef)``."""
        return f"{self.file} (pixels {self.digest})"

    @property
    def provenance(self) -> dict[str, str]:
        """What pictures that started from it say about it: its name, without folders, and the digest of its pixels."""
        return {"photo": Path(self.file).name, "digest": self.digest}

    @classmethod
    def parse(cls, text: str) -> "StartPhoto":
        """Read what `text` returns, or a path alone, whose digest is then empty."""
        match = _TEXT.fullmatch(text)
        return cls(match["file"], match["digest"]) if match else cls(text, "")


def pixel_digest(pixels: Tensor) -> str:
    """The digest of a picture, (C, H, W) of uint8."""
    return digest(repr(tuple(pixels.shape)).encode(), pixels.contiguous().numpy().tobytes())


def write_pixels(path: Path, pixels: Tensor) -> None:
    """Write a picture as PNG, atomically.

    Args:
        path: the file; its folder exists.
        pixels: (1 or 3, H, W) of uint8.

    Raises:
        OSError: it cannot be written.
    """
    content = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).contiguous().numpy()).save(content, "PNG")
    write_atomic(path, lambda file: file.write(content.getbuffer()))


def read_pixels(path: Path) -> Tensor | None:
    """A picture that `write_pixels` wrote, (1 or 3, H, W) of uint8; None if it is not there, or damaged."""
    try:
        with Image.open(io.BytesIO(read_file(path)), formats=["PNG"]) as picture:
            pixels = np.array(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # SyntaxError: a broken PNG
        return None
    return torch.from_numpy(pixels[:, :, None] if pixels.ndim == 2 else pixels).permute(2, 0, 1).contiguous()
