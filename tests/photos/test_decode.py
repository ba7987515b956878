"""Photos of every kind that a camera or a program writes, and files that are none."""

import contextlib
import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import CenterCrop, Compose, InterpolationMode, Resize

from lightning_fv.errors import UsageError
from lightning_fv.objectives.photo import Photo
from lightning_fv.photos import decode as photo
from lightning_fv.photos.decode import check_photo, photo_pixels, read_photo
from tests.helpers import smooth_photos

HEIGHT, WIDTH = 30, 44


def picture(height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    return Image.fromarray((smooth_photos(height, width)[0].permute(1, 2, 0) * 255).byte().numpy())


def saved(folder: Path, image: Image.Image, name: str = "photo.png", **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("shape", [(30, 44), (44, 30), (97, 61), (8, 9), (33, 33), (224, 225)])
@pytest.mark.parametrize("side", [24, 25, 33])
def test_as_torchvision_resizes_and_crops(tmp_path: Path, shape: tuple[int, int], side: int) -> None:
    image = picture(*shape)
    by_torchvision = Compose([Resize(side, InterpolationMode.BILINEAR), CenterCrop(side)])(image)
    assert torch.equal(read_photo(saved(tmp_path, image), (side, side)), pixels(by_torchvision))


def test_a_size_that_is_not_square_is_just_covered(tmp_path: Path) -> None:
    path = saved(tmp_path, picture(40, 40))
    wide = read_photo(path, (10, 20))
    assert torch.equal(wide, pixels(picture(40, 40).resize((20, 20), Image.Resampling.BILINEAR))[:, 5:15])
    assert torch.equal(read_photo(path, (40, 40)), pixels(picture(40, 40)))


@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "ppm", "webp"])
def test_formats_without_loss_give_the_same_pixels(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(tmp_path, picture(), f"photo.{kind}", **options)
    assert torch.equal(read_photo(path, (HEIGHT, WIDTH)), pixels(picture()))


def test_the_cameras_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown rotated by 90 degrees clockwise
    path = saved(tmp_path, picture(), exif=exif)
    upright = picture().transpose(Image.Transpose.ROTATE_270)
    assert torch.equal(read_photo(path, (WIDTH, HEIGHT)), pixels(upright))


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_mid_grey(tmp_path: Path, kind: str) -> None:
    image = Image.new("RGBA", (8, 6), (255, 0, 0, 0))
    image.paste((200, 200, 200, 255), (0, 0, 4, 6))
    path = saved(tmp_path, image.convert(kind), "photo.png")
    found = read_photo(path, (6, 8)).int()
    assert (found[:, :, 4:] - 128).abs().max() <= 1
    assert (found[:, :, :4] - 200).abs().max() <= 1


def test_half_transparent_is_half_way_to_grey(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGBA", (8, 8), (255, 255, 255, 128)))
    assert (read_photo(path, (8, 8)).int() - 192).abs().max() <= 1


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (250, 10)]
    path = saved(tmp_path, frames[0], "film.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert (read_photo(path, (8, 8))[0].int() - 250).abs().max() <= 1


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_16_bits_become_8(tmp_path: Path, name: str) -> None:
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    found = read_photo(saved(tmp_path, Image.fromarray(ramp), name), (8, 8))
    assert torch.equal(found, torch.from_numpy((ramp / 257).round().astype(np.uint8)).expand(3, 8, 8))


@pytest.mark.parametrize("kind", ["F", "I"])
def test_32_bits_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="no known range"):
        read_photo(saved(tmp_path, picture().convert("L").convert(kind), "deep.tif"), (8, 8))


@pytest.mark.parametrize("kind", ["CMYK", "L", "1", "YCbCr"])
def test_other_colour_spaces_become_rgb(tmp_path: Path, kind: str) -> None:
    image = picture().convert(kind)
    found = read_photo(saved(tmp_path, image, "photo.tif"), (HEIGHT, WIDTH))
    assert torch.equal(found, pixels(image.convert("RGB")))


def test_channels_of_the_network(tmp_path: Path) -> None:
    path = saved(tmp_path, picture())
    assert torch.equal(read_photo(path, (HEIGHT, WIDTH), 1)[0], torch.from_numpy(np.array(picture().convert("L"))))
    with pytest.raises(UsageError, match="pictures have 4 channels; give a tensor"):
        read_photo(path, (8, 8), 4)


def png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">II", zlib.crc32(head), 9) + b"IDAT"


def encoded(kind: str) -> bytes:
    content = io.BytesIO()
    picture(200, 200).save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not a picture in a format that Pillow reads"),
        (b"a picture of a cat", "is not a picture in a format that Pillow reads"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "is a PostScript file"),
        (png_header(13000, 13000), "13000 x 13000 pixels; give one of at most 134 million"),
        (png_header(60000, 60000), "decompression bomb"),
        (encoded("PNG")[:2000], "cannot be read as a picture: "),
        (encoded("JPEG")[:2000], "cannot be read as a picture: image file is truncated"),
        (encoded("TIFF")[:2000], "cannot be read as a picture: "),
        (encoded("WEBP")[:500], "is not a picture|cannot be read as a picture: "),
    ],
)
@pytest.mark.filterwarnings("ignore:.*could be decompression bomb")
def test_files_that_are_no_photos(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "photo"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as caught:
        read_photo(path, (8, 8))
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_bits_that_were_flipped_never_surface_as_another_error(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    path = tmp_path / "photo"
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "ICO", "TGA"):
        whole = np.frombuffer(encoded(kind), np.uint8)
        for _ in range(25):
            broken = whole.copy()
            places = chance.integers(0, min(len(broken), 400), 4)
            broken[places] = chance.integers(0, 256, 4)
            path.write_bytes(broken.tobytes())
            with contextlib.suppress(UsageError):
                assert read_photo(path, (8, 8)).shape == (3, 8, 8)


def test_places_that_hold_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, told in (
        (tmp_path / "nothing.jpg", "no such file"),
        (tmp_path, "it is a folder, not a file"),
        ("/dev/zero", "it is a device, not a file"),
        (tmp_path / ("x" * 300), "File name too long"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(UsageError, match=told):
            check_photo(path)
    whole = saved(tmp_path, picture())
    check_photo(whole)
    monkeypatch.setattr(photo, "MAX_BYTES", 100)
    with pytest.raises(UsageError, match="MiB; give one of at most"):
        check_photo(whole)


def test_a_strip_that_covers_only_when_it_is_enlarged_beyond_measure_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("L", (60000, 1)))
    with pytest.raises(UsageError, match=re.escape("60000 x 1 pixels are too narrow to cover 64 x 64")):
        read_photo(path, (64, 64))


def test_a_photo_that_an_objective_holds(tmp_path: Path) -> None:
    path = saved(tmp_path, picture())
    held = Photo.of(path)
    path.unlink()
    shown = photo_pixels(held, (20, 20), 3)
    assert shown.dtype == torch.float32
    assert torch.equal(shown, read_photo(saved(tmp_path, picture()), (20, 20)) / 255)
    assert photo_pixels(held, (20, 20), 1).shape == (1, 20, 20)
    numbers = smooth_photos(HEIGHT, WIDTH)[0]
    torch.testing.assert_close(photo_pixels(Photo.of(numbers), (HEIGHT, WIDTH), 3), numbers)
    assert photo_pixels(Photo.of(numbers), (20, 20), 3).shape == (3, 20, 20)
    assert photo_pixels(Photo.of(numbers.repeat(2, 1, 1)), (5, 4), 6).shape == (6, 5, 4)
    (tmp_path / "text.jpg").write_text("no picture")
    cut = tmp_path / "cut.png"
    cut.write_bytes(saved(tmp_path, picture()).read_bytes()[:300])
    for wrong, channels, told in (
        (Photo.of(tmp_path / "text.jpg"), 3, "the photo .*text.jpg is not a picture in a format"),
        (Photo.of(cut), 3, "the photo .*cut.png cannot be read as a picture"),
        (held, 7, "the photo .*photo.png: a photo has 3 colours, and the network's pictures have 7 channels"),
        (Photo.of(numbers), 1, "the photo has 3 channels, and the network's pictures 1"),
    ):
        with pytest.raises(UsageError, match=told):
            photo_pixels(wrong, (8, 8), channels)
