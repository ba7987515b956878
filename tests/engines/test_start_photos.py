"""Photos to start from: their files, and what a run folder keeps of them."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_fv import FeatureVisualizer, load_network
from lightning_fv.engines.plan import Setup
from lightning_fv.engines.start_photos import (
    check_start_photos,
    keep_start_photos,
    read_start_photos,
    start_paths,
)
from lightning_fv.errors import RunFolderError, UsageError
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.start_photo import StartPhoto
from tests.engines.runs import QUICK
from tests.helpers import save_picture, smooth_photos

SIZE = (12, 10)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for number, picture in enumerate(smooth_photos(24, 20)):
        save_picture(tmp_path / f"{number}.png", picture)
    return [str(tmp_path / f"{number}.png") for number in range(2)]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.register([])
    return folder


def setup(start: torch.Tensor, photos: tuple[StartPhoto, ...]) -> Setup:
    return Setup(load_network("demo"), FeatureVisualizer(size=SIZE), QUICK, start=start, photos=photos)


def test_what_render_takes_for_photos() -> None:
    assert start_paths("a.jpg") == start_paths(Path("a.jpg")) == start_paths(["a.jpg"]) == ["a.jpg"]
    with pytest.raises(UsageError, match="a list of Tensor; give paths of photos, or one tensor"):
        start_paths([torch.zeros(3, 4, 4)])
    with pytest.raises(UsageError, match="a list of nothing"):
        start_paths([])


def test_files_are_checked_without_a_network(files: list[str]) -> None:
    check_start_photos([*files, "gone.png (pixels 0123456789abcdef0123456789abcdef)"])
    with pytest.raises(UsageError, match=r"gone.png: no such file"):
        check_start_photos([*files, "gone.png"])
    with pytest.raises(UsageError, match="no file; give one for all targets"):
        check_start_photos([])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_keeps_them_to_the_bit_without_their_files(files: list[str], folder: RunFolder, channels: int) -> None:
    start, photos = read_start_photos(files, SIZE, channels)
    assert start.shape == (2, channels, *SIZE)
    assert torch.equal((start * 255).round() / 255, start)
    assert [photo.file for photo in photos] == files
    keep_start_photos(folder, setup(start, photos))
    for file in files:
        Path(file).unlink()
    again, named = read_start_photos([photo.text for photo in photos], SIZE, channels, folder)
    assert torch.equal(again, start)
    assert named == photos


def test_a_lost_or_damaged_copy_is_replaced_by_the_file_if_that_is_the_same(
    files: list[str], folder: RunFolder
) -> None:
    start, photos = read_start_photos(files[:1], SIZE, 3)
    keep_start_photos(folder, setup(start, photos))
    copy, texts = folder.start_photo(photos[0].digest), [photos[0].text]
    for damage in (copy.unlink, lambda: copy.write_bytes(b"x"), lambda: Image.new("RGB", (10, 12)).save(copy)):
        damage()
        assert torch.equal(read_start_photos(texts, SIZE, 3, folder)[0], start)
        keep_start_photos(folder, setup(start, photos))
        assert copy.stat().st_size > 200
    copy.unlink()
    Path(files[0]).write_bytes(Path(files[1]).read_bytes())
    with pytest.raises(UsageError, match="was changed, or the size of the pictures was"):
        read_start_photos(texts, SIZE, 3, folder)
    Path(files[0]).unlink()
    with pytest.raises(RunFolderError, match=r"run has lost the photo .*0.png that it starts from .*no such file"):
        read_start_photos(texts, SIZE, 3, folder)


def test_settings_that_are_copied_to_another_run_hold_for_the_same_photo_alone(files: list[str]) -> None:
    start, photos = read_start_photos(files[:1], SIZE, 3)
    texts = [photos[0].text]
    assert torch.equal(read_start_photos(texts, SIZE, 3)[0], start)
    with pytest.raises(UsageError, match="give the file alone to take it as it is now"):
        read_start_photos(texts, (10, 10), 3)


def test_a_folder_that_cannot_be_written_is_said(files: list[str], folder: RunFolder) -> None:
    start, photos = read_start_photos(files[:1], SIZE, 3)
    folder.start_photo(photos[0].digest).mkdir()
    with pytest.raises(RunFolderError, match=r"cannot write to .*run: Is a directory"):
        keep_start_photos(folder, setup(start, photos))
    keep_start_photos(folder, setup(start, ()))  # a tensor, which only `render` can give again
    assert not list(folder.path.glob(".run/start-*.partial"))
