"""What objectives that compare with a photo have in common: how they hold it, and how they are told apart."""

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_fv.errors import TargetError
from lightning_fv.objectives import Caricature, Channel, Facets, Function, Inversion, LayerDistance, Logit
from lightning_fv.objectives.photo import Photo, activations_of, compared, kind_of
from lightning_fv.runs.init_args import NotInConfigError, init_args
from lightning_fv.runs.settings import objective_settings
from tests.helpers import noise, save_picture, smooth_photos

PHOTO, OTHER = smooth_photos(12, 10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_picture(tmp_path / "photo.png", PHOTO)
    return tmp_path / "photo.png"


def test_a_file_is_kept_as_it_is(file: Path) -> None:
    photo = Photo.of(file)
    assert photo.content == file.read_bytes()
    assert photo == Photo.of(str(file))
    save_picture(file.with_name("same.png"), PHOTO)
    assert Photo.of(file.with_name("same.png")) == photo
    save_picture(file, OTHER)
    assert Photo.of(file) != photo
    assert hash(photo) != hash(Photo.of(file))


def test_a_tensor_is_kept_as_numbers() -> None:
    assert Photo.of(PHOTO) == Photo.of(PHOTO.clone())
    assert Photo.of(PHOTO) != Photo.of(OTHER)
    assert Photo.of(PHOTO) != Photo.of(PHOTO.reshape(3, 10, 12))
    for wrong in (PHOTO[0], PHOTO[None], PHOTO * 2, PHOTO - 1, PHOTO * torch.nan, (PHOTO * 255).byte(), PHOTO[:0]):
        with pytest.raises(TargetError, match=r"a file or a tensor \(C, H, W\) of numbers in \[0, 1\], not"):
            Photo.of(wrong)


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, told in (
        (tmp_path / "nowhere.jpg", "No such file or directory"),
        (tmp_path, "it is not a file"),
        (tmp_path / "pipe", "it is not a file"),
        ("/dev/zero", "it is not a file"),
        ("a\0b", "embedded null"),
    ):
        with pytest.raises(TargetError, match=f"^cannot read the photo .*: {told}") as caught:
            Inversion("layer3", path)
        assert "\n" not in str(caught.value)
    (tmp_path / "large").write_bytes(b"x" * 100)
    monkeypatch.setattr("lightning_fv.objectives.photo.MAX_BYTES", 99)
    with pytest.raises(TargetError, match="large has more than 0 MiB"):
        Inversion("layer3", tmp_path / "large")


def test_text_reads_back_unless_the_photo_has_changed(file: Path) -> None:
    one = Caricature("layer3", file, cosine_power=2)
    assert repr(one) == f"Caricature('layer3', {str(file)!r}, cosine_power=2.0, digest={one.digest!r})"
    assert eval(repr(one)) == one
    assert eval(repr(one)).same_as(one)
    save_picture(file, OTHER)
    with pytest.raises(TargetError, match=f"photo.png has changed: its digest is .*, not {one.digest}"):
        eval(repr(one))


def test_photos_tell_objectives_apart(file: Path) -> None:
    same, other = Inversion("layer3", PHOTO), Inversion("layer3", OTHER)
    assert same.key == Inversion("layer3", PHOTO.clone()).key != other.key
    assert same.same_as(Inversion("layer3", PHOTO.clone()))
    assert objective_settings(same) != objective_settings(other)
    before = Inversion("layer3", file)
    save_picture(file, OTHER)
    after = Inversion("layer3", file)
    assert before.key != after.key
    assert objective_settings(before) != objective_settings(after)


def test_copies_hold_the_photo_too(file: Path) -> None:
    one = Inversion("layer3", file)
    file.unlink()
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert twin.same_as(one)
        ((layer, photo),) = twin.photos
        assert (layer, photo.content) == ("layer3", next(iter(one.photos))[1].content)


def test_a_config_names_the_file_and_its_digest(file: Path) -> None:
    one = Inversion("layer3", file)
    assert init_args(one) == {
        "class_path": "lightning_fv.objectives.inversion.Inversion",
        "init_args": {"layer": "layer3", "photo": str(file), "digest": one.digest},
    }
    with pytest.raises(NotInConfigError, match="cannot be made again"):
        init_args(Inversion("layer3", PHOTO))


def test_what_they_read_besides_layers(file: Path) -> None:
    one, start = Inversion("layer3", PHOTO), LayerDistance("layer2")
    read = frozenset({("layer3", Photo.of(PHOTO)), ("layer2", None)})
    assert one.photos == {("layer3", Photo.of(PHOTO))}
    assert start.photos == {("layer2", None)}
    assert (Logit(3) - 0.5 * one - start * one).photos == read
    assert Facets(one, 3).photos == Function(one, name="x").photos == one.photos
    assert Channel("layer3", 1).photos == frozenset()
    names = {kind_of(photo): activations_of(layer, photo) for layer, photo in read}
    assert names == {"photo": "layer3 of the photo", "start": "layer2 of the start"}
    maps, vectors = noise(2, 6, 5, 3), noise(2, 6)
    found, other = compared({"layer3": maps, names["photo"]: vectors}, "layer3", Photo.of(PHOTO))
    np.testing.assert_array_equal(found, maps.flatten(2))
    np.testing.assert_array_equal(other, vectors[:, :, None])


def test_as_targets_are_written(file: Path) -> None:
    assert Inversion("layer3", file).text() == f"inversion:{file}@layer3"
    assert Caricature("layer3", file).text() == f"caricature:{file}@layer3"
    save_picture(file.with_name("a+b.png"), PHOTO)
    for unwritten in (
        Inversion("layer3", PHOTO),
        Inversion("layer3", file.with_name("a+b.png")),
        Caricature("layer3", file, cosine_power=2),
        Inversion("a@b", file),
    ):
        assert unwritten.text() == repr(unwritten)
