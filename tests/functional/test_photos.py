"""The shipped spectra of photos."""

import pytest

from lightning_fv import load_network
from lightning_fv.functional import PhotoSet, photo_high_frequency, photo_spectrum


@pytest.mark.parametrize(("photos", "side"), [("imagenet", 224), ("tiny_imagenet", 64)])
def test_rings_reach_the_corners_and_fall(photos: PhotoSet, side: int) -> None:
    rings = photo_spectrum(photos)
    assert side / 2 * 2**0.5 <= len(rings) < side / 2 * 2**0.5 + 2
    assert sum(rings) == pytest.approx(1, abs=1e-4)
    quarter = side // 4
    assert sum(rings[:quarter]) > 0.8
    assert all(share >= 0 for share in rings)


def test_high_frequencies_are_what_was_measured() -> None:
    """By scripts/build_spectrum.py, over 12,000 and 1000 photos."""
    assert photo_high_frequency("tiny_imagenet") == pytest.approx(0.1845, abs=1e-3)
    assert photo_high_frequency("imagenet") == pytest.approx(0.0653, abs=1e-3)


def test_each_network_names_its_photos() -> None:
    assert load_network("demo").photos == "tiny_imagenet"
    assert load_network("torchvision/squeezenet1_1", weights=None).photos == "imagenet"


def test_unknown_photos_are_refused() -> None:
    with pytest.raises(ValueError, match="'places'; those known are imagenet and tiny_imagenet"):
        photo_spectrum("places")  # type: ignore[arg-type]
