import io
import json
import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from lightning_fv.errors import UsageError
from lightning_fv.functional import to_uint8
from lightning_fv.runs.picture import (
    CHUNK,
    encode_jpeg,
    encode_picture,
    encode_png,
    read_origin,
    with_info,
    write_encoded,
    write_picture,
)
from lightning_fv.runs.record import Record
from lightning_fv.version import __version__


def record(target: str = "logits:pizza") -> Record:
    return Record(
        id="0001-pizza",
        target=target,
        network="demo",
        status="done",
        score=12.5,
        image="images/0001-pizza.png",
        size=[37, 29],
        steps=128,
        seed=0,
        seconds=1.5,
        scores={"probability": 0.75},
    )


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_png_is_lossless(photo: Tensor) -> None:
    pixels = to_uint8(photo[0])
    image = opened(encode_png(pixels))
    assert image.format == "PNG"
    assert image.mode == "RGB"
    assert image.size == (29, 37)  # Pillow says width first
    np.testing.assert_array_equal(np.asarray(image), pixels.permute(1, 2, 0).numpy())


def test_an_opacity_is_the_fourth_channel_of_a_png(tmp_path: Path, photo: Tensor) -> None:
    opacity = torch.linspace(0, 1, 29).expand(1, 37, 29)
    write_picture(tmp_path / "a.png", torch.cat([photo[0], opacity]), record(), {}, opaque=False)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGBA"
        assert json.loads(image.info[CHUNK])["record"]["id"] == "0001-pizza"
        pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[..., :3], to_uint8(photo[0]).permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(pixels[0, :, 3], (opacity[0, 0] * 255).round().numpy())


def test_jpeg_is_near(photo: Tensor) -> None:
    pixels = to_uint8(photo[0])
    image = opened(encode_jpeg(pixels))
    assert image.format == "JPEG"
    assert image.size == (29, 37)
    difference = np.asarray(image).astype(int) - pixels.permute(1, 2, 0).numpy()
    assert np.abs(difference).mean() < 3
    assert len(encode_jpeg(pixels, quality=30)) < len(encode_jpeg(pixels))


def test_channels_are_red_green_blue() -> None:
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 5)
    assert opened(encode_png(red)).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("target", ["logits:pizza", "logits:crème brûlée ☃", "<script>alert(1)</script>"])
def test_picture_carries_where_it_came_from(tmp_path: Path, photo: Tensor, target: str) -> None:
    recipe = {"model": {"stage_steps": 64}, "note": "50 % ☃"}
    path = tmp_path / "picture.png"
    write_picture(path, photo[0], record(target), recipe)
    with Image.open(path) as image:
        image.load()
        told = json.loads(image.text[CHUNK])
        np.testing.assert_array_equal(np.asarray(image), to_uint8(photo[0]).permute(1, 2, 0).numpy())
    expected = json.loads(record(target).to_json())
    assert told["record"] == {name: value for name, value in expected.items() if name not in ("seconds", "digest")}
    assert told["recipe"] == recipe
    assert told["versions"] == {
        "lightning_fv": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def test_picture_with_nan_leaves_the_old_file(tmp_path: Path, photo: Tensor) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    photo[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        write_picture(path, photo[0], record(), {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_added_as_pillow_does(photo: Tensor) -> None:
    pixels, info = to_uint8(photo[0]), PngInfo()
    info.add_text("one", "latin é")
    info.add_text("two", "☃" * 100)
    expected = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(expected, "PNG", pnginfo=info)
    assert with_info(encode_png(pixels), info) == expected.getvalue()


def test_an_encoded_picture_is_written_as_it_is(tmp_path: Path, photo: Tensor) -> None:
    one, two = tmp_path / "1.png", tmp_path / "2.png"
    digests = write_picture(one, photo[0], record(), {}), write_encoded(two, encode_picture(photo[0]), record(), {})
    assert one.read_bytes() == two.read_bytes()
    assert digests[0] == digests[1]


def test_a_file_holds_what_makes_its_picture_again(tmp_path: Path, photo: Tensor) -> None:
    known = {"job": "0123456789ab", "digest": "1f72"}
    for number, own in enumerate(({"config": {"seed": 3}}, {"reason": "start is a tensor"})):
        path = tmp_path / f"{number}.png"
        write_picture(path, photo[0], record(), {}, origin=known | own)
        origin = read_origin(path)
        assert (origin.file, origin.target, origin.job, origin.digest) == (path, "logits:pizza", *known.values())
        assert origin.versions["lightning_fv"] == __version__
        assert (origin.config, origin.reason) == (own.get("config"), own.get("reason", ""))
    write_picture(tmp_path / "none.png", photo[0], record(), {})
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    for name, told in (("none.png", "not by a run"), ("cut.png", "cut.png"), ("", "cannot read the picture")):
        with pytest.raises(UsageError, match=told):
            read_origin(tmp_path / name)
