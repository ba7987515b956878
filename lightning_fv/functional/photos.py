"""The spectrum of the photos that a network was trained on."""

import functools
import json
from pathlib import Path
from typing import Literal, TypeAlias, get_args

PhotoSet: TypeAlias = Literal["imagenet", "tiny_imagenet"]
"""Photos whose spectrum the package contains: ImageNet's at 224 px, and those of the demo networks at 64 px."""

SPECTRA = Path(__file__).parents[1] / "assets" / "photo_spectra.json"


@functools.cache
def photo_spectrum(photos: PhotoSet) -> tuple[float, ...]:
    """Mean share of the energy of photos in each ring of frequencies, after a Hann window; their sum is 1.

    Ring k holds frequencies f with k < f <= k + 1 in cycles per side of 224 px (``imagenet``) or 64 px
    (``tiny_imagenet``); the last rings are in the corners of the spectrum. Measured by ``scripts/build_spectrum.py``.

    Raises:
        ValueError: no such photos.
    """
    if photos not in get_args(PhotoSet):
        raise ValueError(f"no photos are called {photos!r}; those known are {' and '.join(get_args(PhotoSet))}")
    return tuple(json.loads(SPECTRA.read_text())[photos]["rings"])


def photo_high_frequency(photos: PhotoSet) -> float:
    """The `lightning_fv.metrics.HighFrequencyEnergy` of photos, above half the Nyquist frequency, at the size that networks see them at.

    0.19 for Tiny ImageNet at 64 px, 0.07 for ImageNet at 224 px: how photos were scaled down decides it. It counts cycles
    per pixel; for a picture of another size it is still that of the photos at their own.
    """
    rings = photo_spectrum(photos)
    side = 64 if photos == "tiny_imagenet" else 224
    return sum(rings[side // 4 :])
