"""What a run's settings call its photos, and the copies that its folder keeps."""

from pathlib import Path

import pytest
import torch

from lightning_fv.runs.start_photo import StartPhoto, pixel_digest, read_pixels, write_pixels

PIXELS = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(3, 4, 5)


@pytest.mark.parametrize("file", ["cat.jpg", "photos/my cat (2).jpg", "a\nb.png", "c (pixels 12).png", "[x, y]: z"])
def test_the_text_of_a_photo_is_read_as_it_was_written(file: str) -> None:
    photo = StartPhoto(file, pixel_digest(PIXELS))
    assert StartPhoto.parse(photo.text) == photo
    assert StartPhoto.parse(file) == StartPhoto(file, "")
    assert photo.provenance == {"photo": file.rpartition("/")[2], "digest": photo.digest}


def test_the_digest_is_of_pixels_and_shape() -> None:
    assert pixel_digest(PIXELS) == pixel_digest(PIXELS.clone())
    others = (PIXELS + 1, PIXELS.view(3, 5, 4), PIXELS.flip(0), PIXELS[:1])
    assert len({pixel_digest(other) for other in (PIXELS, *others)}) == 5
    assert pixel_digest(PIXELS.permute(1, 2, 0).contiguous().permute(2, 0, 1)) == pixel_digest(PIXELS)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_kept_to_the_bit(tmp_path: Path, channels: int) -> None:
    write_pixels(tmp_path / "x.png", PIXELS[:channels])
    found = read_pixels(tmp_path / "x.png")
    assert found is not None
    assert torch.equal(found, PIXELS[:channels])
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:50])
    assert read_pixels(tmp_path / "x.png") is None
    assert read_pixels(tmp_path / "y.png") is None
