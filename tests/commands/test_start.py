"""``--start``: runs that start from photos, from the command line to the PNG."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from lightning_fv.commands.main import main
from lightning_fv.commands.start import start_args, start_files
from lightning_fv.photos.decode import read_photo
from lightning_fv.runs.picture import CHUNK, read_picture_tensor
from tests.helpers import save_picture, smooth_photos
from tests.processes import pictures, run

QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2"]
STILL = ["--model.transforms", "[]", "--model.optimizer.lr", "1e-6"]
TWO = ["--targets", "logits:pizza+layer3", "--batch_size", "1"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    for number, picture in enumerate(smooth_photos(90, 100)):
        save_picture(f"{number}.png", picture)
    return ["0.png", "1.png"]


def chunk(file: Path) -> dict[str, dict[str, str]]:
    with Image.open(file) as picture:
        recipe: dict[str, dict[str, str]] = json.loads(picture.text[CHUNK])["recipe"]  # type: ignore[attr-defined]
    return recipe


def test_words_up_to_the_next_option_are_files() -> None:
    words = ["--seed", "1", "--start", "a.jpg", "[b], c", "--out", "x"]
    assert start_args(words) == ["--seed", "1", '--start=["a.jpg", "[b], c"]', "--out", "x"]
    assert start_args(["--start"]) == ["--start=[]"]
    assert start_args(["--start=a.jpg"]) == ["--start=a.jpg"]
    assert start_files("a.jpg") == ["a.jpg"]
    assert start_files(["a.jpg", "b.jpg"]) == ["a.jpg", "b.jpg"]
    assert start_files(None) is None


def test_numbers_as_words_are_a_list(tmp_path: Path) -> None:
    words = ["--mean", "0.5", "0.4", "0.3", "--input-size", "48", "64", "--std", "[0.2, 0.2, 0.2]"]
    assert main([*words, "--targets", "logits:pizza", *QUICK, "--out", str(tmp_path / "run")]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["mean"], config["std"], config["input_size"]) == ([0.5, 0.4, 0.3], [0.2] * 3, [48, 64])
    assert start_args(["--std", "0.2,0.2,0.1", "--seed", "1"]) == ["--std=[0.2,0.2,0.1]", "--seed", "1"]
    assert start_args(["--mean", "null"]) == ["--mean", "null"]


@pytest.mark.parametrize("parameterization", ["Fourier", "Pixel"])
def test_each_picture_starts_from_its_photo_and_says_so(photos: list[str], parameterization: str) -> None:
    assert (
        main(["--start", *photos, *TWO, *QUICK, *STILL, "--model.parameterization", parameterization, "--out", "run"])
        == 0
    )
    config = yaml.safe_load(Path("run/config.yaml").read_text())["start"]
    for photo, file, entry in zip(photos, sorted(Path("run/images").iterdir(), reverse=True), config, strict=True):
        shown, given = read_picture_tensor(file), read_photo(photo, (64, 64)).float() / 255
        assert float((shown - given).abs().mean()) < 0.02
        said = chunk(file)["start"]
        assert said["photo"] == photo
        assert entry == f"{photo} (pixels {said['digest']})"
    assert "start: photos; each PNG names its own" in Path("run/gallery.html").read_text()


def test_one_photo_for_all_with_growth_and_noise_without_any(photos: list[str]) -> None:
    grow = ["--model.size", "32", "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=48",
            "--trainer.callbacks.every=1", "--trainer.callbacks.factor=1.5"]  # fmt: skip
    assert main(["--start", photos[0], *TWO, *QUICK, *STILL, *grow, "--out", "run"]) == 0
    for file in Path("run/images").iterdir():
        shown = read_picture_tensor(file)
        assert shown.shape == (3, 48, 48)
        assert float((shown - read_photo(photos[0], (48, 48)).float() / 255).abs().mean()) < 0.05
        assert chunk(file)["start"]["photo"] == "0.png"
    assert main([*TWO, *QUICK, "--out", "noise"]) == 0
    assert all("start" not in chunk(file) for file in Path("noise/images").iterdir())


def test_config_files_may_name_one_or_several(photos: list[str]) -> None:
    Path("one.yaml").write_text("start: 0.png\n")
    Path("two.yaml").write_text("start: [0.png, 1.png]\n")
    for name in ("one", "two"):
        assert main(["--config", f"{name}.yaml", *TWO, *QUICK, "--out", name]) == 0
    assert main(["--start=0.png", *TWO, *QUICK, "--out", "word"]) == 0
    assert pictures(Path("one")) == pictures(Path("word")) != pictures(Path("two"))


def test_a_run_is_resumed_without_its_photos(photos: list[str]) -> None:
    assert main(["--start", *photos, *TWO, *QUICK, "--out", "run"]) == 0
    whole = pictures(Path("run"))
    for photo in photos:
        Path(photo).unlink()
    for done in Path("run").glob("jobs/*/done.jsonl"):
        done.unlink()
    for file in Path("run/images").iterdir():
        file.unlink()
    assert main(["--resume", "--out", "run"]) == 0
    assert pictures(Path("run")) == whole


@pytest.mark.slow
def test_two_workers_start_from_the_photos_of_one(photos: list[str]) -> None:
    assert main(["--start", *photos, *TWO, *QUICK, "--out", "one"]) == 0
    code, told = run("--start", *photos, *TWO, *QUICK, "--trainer.devices", "2", "--out", "two", cwd=Path.cwd())
    assert code == 0, told
    assert pictures(Path("two")) == pictures(Path("one"))


def test_another_photo_is_refused_and_the_same_elsewhere_is_not(
    photos: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TWO, *QUICK, "--out", "run"]
    assert main(["--start", photos[0], *words]) == 0
    Path("0.png").rename("moved.png")
    assert main(["--start", "moved.png", *words]) == 0
    assert main(["--start", str(Path("moved.png").absolute()), "--resume", "--out", "run"]) == 0
    capsys.readouterr()
    Path("1.png").rename("0.png")
    for other in (["--start", "0.png", *words], ["--start", "0.png", "--resume", "--out", "run"], words):
        assert main(other) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "run holds a run of other pictures: the digest of start is " in line
    assert main(["--config", "run/config.yaml", "--out", "new"]) == 2
    assert "0.png was changed" in capsys.readouterr().err
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ([], "start: no file; give one for all targets, or one for each"),
        (["nothing.jpg"], "start: nothing.jpg: no such file"),
        (["."], "start: . cannot be read as a picture: it is a folder"),
        (["text.jpg"], "start: text.jpg is not a picture"),
        (["cut.png"], "start: cut.png cannot be read as a picture: image file is truncated"),
        (["0.png", "0.png", "0.png"], "start has 3 pictures for 2 targets; give one for all, or one for each"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    photos: list[str], capsys: pytest.CaptureFixture[str], start: list[str], told: str
) -> None:
    Path("text.jpg").write_text("a cat")
    Path("cut.png").write_bytes(Path("0.png").read_bytes()[:1500])
    assert main(["--start", *start, *TWO, *QUICK, "--out", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lightning-fv: error: {told}")
    assert not Path("run").exists()


def test_a_comparison_starts_all_columns_from_the_photos(photos: list[str]) -> None:
    words = ["compare", "--networks", "demo", "demo/stylized", "--start", *photos, *TWO, *QUICK, *STILL]
    assert main([*words, "--out", "both"]) == 0
    for name in ("demo", "demo-stylized"):
        shown = torch.stack(
            [read_picture_tensor(file) for file in sorted(Path("both", name, "images").iterdir(), reverse=True)]
        )
        given = torch.stack([read_photo(photo, (64, 64)) for photo in photos]).float() / 255
        assert float((shown - given).abs().mean()) < 0.02
