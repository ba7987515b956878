"""Targets that compare a picture with a photo in a file: ``inversion:FILE@LAYER``, ``caricature:FILE@LAYER``, ``style:FILE@LAYER``."""

import re

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Caricature, Inversion, Style
from lightning_fv.objectives.photo import PhotoObjective

KINDS: dict[str, type[PhotoObjective]] = {kind.kind: kind for kind in (Inversion, Caricature, Style)}
"""What stands before the colon, and what it means."""


def parse_photo(text: str) -> PhotoObjective:
    """The objective of a text.

    Args:
        text: ``inversion:photo.jpg@layer3``, ``caricature:photo.jpg@layer3``, ``style:photo.jpg@layer1``.

    Raises:
        TargetError: it cannot be parsed, or the file cannot be read.
    """
    kind, _, rest = text.partition(":")
    match = re.fullmatch(r"(?P<file>.+)@(?P<layer>[^@]+)", rest)
    if kind not in KINDS or match is None:
        raise TargetError(
            f"cannot read the target {text[:200]!r}; write {kind}:FILE@LAYER, such as {kind}:photo.jpg@layer3"
        )
    return KINDS[kind](match["layer"], match["file"])
