"""``--from PICTURE.png``: the same picture again, from its file alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import lightning_fv
from lightning_fv.commands.from_picture import from_args
from lightning_fv.commands.main import main
from lightning_fv.errors import UsageError
from lightning_fv.objectives import Channel, Function, Logit
from lightning_fv.runs.picture import CHUNK
from tests.helpers import save_picture, smooth_photos
from tests.processes import QUICK, pictures

RUN = [*QUICK, "--trainer.max_steps", "3", "--model.size", "32", "--seed", "5", "--batch_size", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def again(picture: Path, *options: str) -> dict[str, bytes]:
    """The pictures that come from one whose run is gone."""
    shutil.copy(picture, "alone.png")
    shutil.rmtree(picture.parents[1])
    assert main(["--from", "alone.png", "--out", "again", *QUICK, *options]) == 0
    return pictures(Path("again"))


def rewritten(change: Callable[[dict[str, Any]], None], file: Path, name: str) -> str:
    """A copy of a picture that says something else."""
    info = PngInfo()
    with Image.open(file) as picture:
        chunk = json.loads(picture.info[CHUNK])
        change(chunk)
        info.add_text(CHUNK, json.dumps(chunk))
        picture.save(name, pnginfo=info)
    return name


@pytest.mark.parametrize(
    ("targets", "name"),
    [
        ("logits:lion+logits:pizza+layer3:5", "logits-0011-pizza"),
        ("layer1:0+layer3:5 x2", "layer3-0005-2"),
        ("layer2:12@1,2+layer2", "layer2-0012-y1-x2"),
        ("sum(0.5*layer4:1 - 0.3*logits:lion)", None),
        ("sae:demo/vit:3", None),
    ],
)
def test_every_kind_of_target_comes_out_the_same(targets: str, name: str | None) -> None:
    network = ["--network", "demo/vit", "--model.size", "64"] if targets.startswith("sae:") else []
    assert main(["--targets", targets, "--out", "first", *RUN, *network]) == 0
    before = pictures(Path("first"))
    file = f"{name}.png" if name else next(iter(before))
    after = again(Path("first/images", file))
    assert after[file] == before[file]
    assert len(after) <= 2  # its batch, not its run


def test_everything_that_changes_a_picture_is_in_it() -> None:
    """Recipe, penalties, transforms, callbacks, clipping, schedule, a photo to start from."""
    save_picture("photo.png", smooth_photos(40, 50)[0])
    words = [
        "--config", "study_penalty", "--start", "photo.png", "--targets", "logits:pizza", "--trainer.callbacks+=PeriodicBlur",
        "--trainer.callbacks.every=2", "--trainer.gradient_clip_val", "0.01", "--model.lr_scheduler", "StepLR",
        "--model.lr_scheduler.step_size=1", "--model.transforms+=RandomFlip", "--model.parameterization", "Pixel",
    ]  # fmt: skip
    assert main([*words, "--out", "first", *RUN]) == 0
    before = pictures(Path("first"))
    assert again(next(Path("first/images").iterdir())) == before


def test_pictures_rendered_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"steps": 2, "size": 32, "progress": False}
    lightning_fv.render("demo", [Channel("layer4", 7) + 0.5 * Logit(11)], out="first", **options)
    before = pictures(Path("first"))
    assert again(next(Path("first/images").iterdir())) == before

    function = Function(lambda activations, images: images.flatten(1).mean(1), layers=[], name="x")
    lightning_fv.render("demo", [function], out="second", **options)
    assert main(["--from", str(next(Path("second/images").iterdir())), "--out", "other"]) == 2
    assert "cannot be named on the command line" in capsys.readouterr().err
    lightning_fv.render("demo", "logits:0", **options).save("third")
    assert main(["--from", str(next(Path("third/images").iterdir())), "--out", "other"]) == 2
    assert "does not say how it was made" in capsys.readouterr().err


def test_what_will_not_be_the_same_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "logits:pizza", "--out", "first", *RUN]) == 0
    file = Path("first/images/logits-0011-pizza.png")
    before = pictures(Path("first"))
    capsys.readouterr()
    other = rewritten(lambda chunk: chunk["origin"].update(job="0"), file, "other.png")
    old = rewritten(lambda chunk: chunk["versions"].update(torch="1.0"), file, "old.png")
    for words, told in (
        (["--from", str(file)], ""),
        ([f"--from={file}", "--seed", "6"], f"this will not be the same picture as {file}: seed 5 -> 6\n"),
        (["--from", str(file), "--model.size=40", "--seed=7"], ": model.size 32 -> 40, seed 5 -> 7\n"),
        (["--from", str(file), "--model.transforms=[]", "--seed=7"], ": another model.transforms, seed 5 -> 7\n"),
        (["--from", str(file), "--targets=logits:0", "--seed=7"], ": seed 5 -> 7, targets "),
        (["--from", other], "code or a file that its settings name has changed since\n"),
        (["--from", old], "was made with torch 1.0"),
    ):
        shutil.rmtree("again", ignore_errors=True)
        assert main([*words, "--out", "again", *QUICK]) == 0
        assert told in capsys.readouterr().err
        assert (pictures(Path("again")) == before) == ("seed" not in "".join(words))


def test_a_batch_that_is_cut_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "logits:0-1", "--out", "first", *RUN]) == 0
    file = next(Path("first/images").iterdir())
    capsys.readouterr()
    assert main(["--from", str(file), "--batch_size", "1", "--out", "again", *QUICK]) == 0
    assert capsys.readouterr().err.endswith(": its batch is cut into smaller ones\n")


def test_mistakes_are_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "logits:pizza", "--out", "first", *RUN]) == 0
    file = Path("first/images/logits-0011-pizza.png")
    save_picture("plain.png", torch.zeros(3, 4, 4))
    Path("text.png").write_text("no picture")
    calls: list[tuple[list[str], str]] = [
        (["none.png"], "cannot read the picture none.png: No such file"),
        (["text.png"], "cannot read the picture text.png: it is not a PNG file"),
        (["plain.png"], "plain.png does not say how it was made"),
        ([], "--from takes one picture"),
        ([str(file), "--from", str(file)], "--from takes one picture"),
        ([str(file), "--resume"], "--resume continues a run with its own settings"),
        (
            [rewritten(lambda chunk: chunk["versions"].update(lightning_fv="0.0.9"), file, "a.png")],
            "lightning_fv 0.0.9",
        ),
        ([rewritten(lambda chunk: chunk["origin"].update(digest="0"), file, "b.png")], "other weights of demo"),
        ([rewritten(lambda chunk: chunk.update(origin=[1]), file, "c.png")], "does not say how it was made"),
        ([rewritten(lambda chunk: chunk["origin"]["config"].update(seed="x"), file, "d.png")], "seed"),
    ]
    capsys.readouterr()
    for words, told in calls:
        assert main(["--from", *words, "--out", "again"]) == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
        assert not Path("again").exists()


def test_a_picture_may_not_run_what_a_config_file_may_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "logits:pizza", "--out", "first", *RUN]) == 0

    def attack(chunk: dict[str, Any]) -> None:
        chunk["origin"]["config"]["model"]["transforms"] = [
            {"class_path": "os.system", "init_args": {"command": "touch x"}}
        ]

    name = rewritten(attack, Path("first/images/logits-0011-pizza.png"), "attack.png")
    capsys.readouterr()
    assert main(["--from", name, "--out", "again"]) == 2
    assert "os.system" in capsys.readouterr().err
    assert not Path("x").exists()


def test_other_options_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fron", "x.png"]) == 2
    assert "did you mean --from?" in capsys.readouterr().err
    assert from_args(["--seed", "1", "--out=--from"]) == (["--seed", "1", "--out=--from"], None)
    with pytest.raises(UsageError, match="takes one picture"):
        from_args(["--from"])
