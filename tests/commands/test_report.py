"""``lightning-fv report``, by the real command."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lightning_fv
from lightning_fv.commands.main import main
from lightning_fv.runs.evidence import read_evidence
from tests.faults.disks import small_disk
from tests.helpers import TinyNet
from tests.processes import QUICK, finish, kill, run, start, wait_for

RUN = ["--targets", "logits:pizza+logits:lion+layer2:5", "--trainer.max_steps", "2", "--batch_size", "1", *QUICK]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_FV_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for number in range(90):
        folder = tmp_path / "photos" / ("pizza" if number % 3 else "other")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draws.uniform(0, 255, 3) * 0.6 + draws.uniform(0, 100, (64, 64, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")
    return tmp_path / "photos"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert main([*RUN, "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def test_every_picture_has_a_verdict(folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", str(folder), "--photos", str(photos), "--judges", "demo/antialiased"]
    capsys.readouterr()
    assert main(words) == 0
    told = capsys.readouterr().out
    assert str(folder / "evidence.jsonl") in told
    assert str(folder / "gallery.html") in told
    assert (
        "kernel distance (KID): not computed; it needs at least 50 pictures and 50 photos, but got 3 pictures and 90 photos\n"
        in told
    )
    found = read_evidence(folder / "evidence.jsonl")
    assert [evidence.target for evidence in found] == ["logits:pizza", "logits:lion", "layer2:5"]
    assert {"p(demo/antialiased)", "rank(demo/antialiased)"} <= found[0].plausible.keys()
    assert {"match(demo/antialiased)", "correlation(demo/antialiased)"} <= found[2].plausible.keys()
    assert list(found[0].path)[-1] == "logits"
    before = (folder / "evidence.jsonl").read_bytes(), (folder / "evidence.jsonl").stat().st_mtime_ns
    assert main(words) == 0
    assert ((folder / "evidence.jsonl").read_bytes(), (folder / "evidence.jsonl").stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["NOWHERE", "--photos", "PHOTOS"], "holds no manifest.jsonl; give the folder of a run"),
        (["RUN"], "--photos"),
        (["RUN", "--judges", "demo/vit"], "--photos"),
        (["RUN", "--photos", "NOWHERE"], "is neither a folder of photos"),
        (["RUN", "--photos", "EMPTY"], "holds no photo"),
        (["RUN", "--photos", "PHOTOS", "--judges", "dmeo"], "dmeo"),
        (["RUN", "--photos", "PHOTOS", "--judges", "demo"], "demo made the pictures, and cannot judge them"),
        (["RUN", "--photos", "PHOTOS", "--judges", "demo/vit", "demo/vit"], "demo/vit is named twice"),
        (["SAVED", "--photos", "PHOTOS"], "VisualizeDuringTraining write none: use render with out=FOLDER"),
        (["RUN", "--photos", "PHOTOS", "--others", "NOWHERE"], "holds no manifest.jsonl"),
        (["RUN", "--photos", "PHOTOS", "--others", "RUN"], "no picture of these targets by another seed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_one_line(
    words: list[str], said: str, folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    saved = tmp_path / "saved"
    saved.mkdir()
    shutil.copy(folder / "manifest.jsonl", saved)  # no settings, as of rendering.save
    places = {
        "RUN": folder,
        "SAVED": saved,
        "PHOTOS": photos,
        "NOWHERE": tmp_path / "nowhere",
        "EMPTY": tmp_path / "empty",
    }
    capsys.readouterr()
    assert main(["report", *(str(places.get(word, word)) for word in words)]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not (folder / "evidence.jsonl").exists()
    assert not (tmp_path / "nowhere").exists()


def test_fit_tells_it_at_once(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*RUN, "--out", str(tmp_path / "run"), "--photos", str(photos), "--judges", "demo/antialiased"]
    assert main(words) == 0
    assert "evidence.jsonl" in capsys.readouterr().out
    file = tmp_path / "run" / "evidence.jsonl"
    at_once = file.read_bytes()
    assert main(["report", str(tmp_path / "run"), "--photos", str(photos), "--judges", "demo/antialiased"]) == 0
    assert file.read_bytes() == at_once
    found = lightning_fv.collect_evidence(tmp_path / "run", photos, "demo/antialiased")
    assert file.read_bytes() == at_once
    assert [evidence.to_json() for evidence in found] == at_once.decode().splitlines()


def test_judges_without_photos_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--out", str(tmp_path / "run"), "--judges", "demo/vit"]) == 2
    assert "add --photos" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def rendered(out: Path, **options: Any) -> None:
    lightning_fv.render(
        TinyNet().eval(), "logits:0+conv1:2", out=out, mean=(0.5,) * 3, std=(0.2,) * 3, size=64, steps=2,
        progress=False, accelerator="cpu", **options,
    )  # fmt: skip


def test_runs_of_unnamed_parts_are_for_python(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rendered(tmp_path / "run")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run"), "--photos", str(photos)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "call lightning_fv.collect_evidence" in told


@pytest.mark.slow
def test_two_processes_share_the_work(folder: Path, photos: Path) -> None:
    words = ["report", str(folder), "--photos", str(photos), "--judges", "demo/antialiased"]
    code, told = run(*words)
    assert code == 0, told
    alone = (folder / "evidence.jsonl").read_bytes()
    for file in (*folder.glob("jobs/*/evidence.jsonl"), folder / "evidence.jsonl"):
        file.unlink()
    ended = [finish(process) for process in [start(*words), start(*words)]]
    assert [code for code, _ in ended] == [0, 0], ended
    assert (folder / "evidence.jsonl").read_bytes() == alone


def test_killed_and_repeated_it_goes_on(folder: Path, photos: Path) -> None:
    words = ["report", str(folder), "--photos", str(photos)]
    code, told = run(*words)
    assert code == 0, told
    whole = (folder / "evidence.jsonl").read_bytes()
    for file in (*folder.glob("jobs/*/evidence.jsonl"), folder / "evidence.jsonl"):
        file.unlink()
    process = start(*words)
    wait_for(lambda: list(folder.glob("jobs/*/evidence.jsonl")), process)
    kill(process)
    kept = {file: file.stat().st_mtime_ns for file in folder.glob("jobs/*/evidence.jsonl")}
    for file in kept:
        assert read_evidence(file)
    code, told = run(*words)
    assert code == 0, told
    assert (folder / "evidence.jsonl").read_bytes() == whole
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_other_weights_than_the_runs_are_refused(tmp_path: Path, photos: Path, folder: Path) -> None:
    rendered(tmp_path / "python")
    with pytest.raises(lightning_fv.errors.UsageError, match="give it: network="):
        lightning_fv.collect_evidence(tmp_path / "python", photos)
    wrong = lightning_fv.VisionNetwork(TinyNet(1).eval(), mean=(0.5,) * 3, std=(0.2,) * 3, name="TinyNet")
    with pytest.raises(lightning_fv.errors.RunFolderError, match="another network than TinyNet"):
        lightning_fv.collect_evidence(tmp_path / "python", photos, network=wrong)
    own = lightning_fv.VisionNetwork(TinyNet().eval(), mean=(0.5,) * 3, std=(0.2,) * 3)
    found = lightning_fv.collect_evidence(tmp_path / "python", photos, network=own)
    assert lightning_fv.collect_evidence(tmp_path / "python", photos, network=TinyNet().eval()) == found
    with pytest.raises(lightning_fv.errors.UsageError, match="not an object of type str"):
        lightning_fv.collect_evidence(tmp_path / "python", photos, network="demo")  # type: ignore[arg-type]
    with pytest.raises(lightning_fv.errors.UsageError, match="categories are for a plain Module"):
        lightning_fv.collect_evidence(tmp_path / "python", photos, network=own, categories=["a"])
    assert [evidence.target for evidence in found] == ["logits:0", "conv1:2"]
    assert all(evidence.verdict != "unknown" for evidence in found)
    assert not torch.is_inference_mode_enabled()


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path, folder: Path, photos: Path) -> None:
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", 8) as disk:
        shutil.copytree(folder, disk.seen / "run")
        words = ["report", str(disk.path / "run"), "--photos", str(photos)]
        ballast = disk.fill()
        before = (disk.seen / "run" / "gallery.html").read_bytes()
        code, told = run(*words, under=disk.enter)
        assert code == 1, told
        assert "No space left on device" in told
        assert "Traceback" not in told
        assert (disk.seen / "run" / "gallery.html").read_bytes() == before
        ballast.unlink()
        code, told = run(*words, under=disk.enter)
        assert code == 0, told
        assert len(read_evidence(disk.seen / "run" / "evidence.jsonl")) == 3
