"""``lightning-fv compare``: networks and recipes side by side, by the real command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_fv.commands.main import main
from lightning_fv.networks.antialiased import antialiased_resnet50
from lightning_fv.networks.torchvision import build_torchvision
from lightning_fv.runs.record import read_manifest

QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
BATCH = ["--targets", "logits:pizza+logits:lion+layer2:5", "--trainer.max_steps", "3"]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "comparison.jsonl").read_text().splitlines()]


def test_each_column_is_the_run_that_fit_makes_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Same targets, same seeds: bit for bit what one gets without the comparison."""
    folder, alone = tmp_path / "side by side", tmp_path / "alone"
    networks = ["demo", "demo/antialiased"]
    assert main(["compare", "--networks", *networks, *BATCH, "--out", str(folder), *QUICK]) == 0
    told = capsys.readouterr().out
    for file in ("comparison.png", "index.html"):
        assert (folder / file).is_file()
        assert str(folder / file) in told
    assert [line["column"] for line in lines(folder)] == [name for name in networks for _ in range(3)]
    assert main([*BATCH, "--network", "demo/antialiased", "--out", str(alone), *QUICK]) == 0
    for record in read_manifest(alone / "manifest.jsonl"):
        one, beside = (Image.open(run / str(record.image)) for run in (alone, folder / "demo-antialiased"))
        assert np.array_equal(np.array(one), np.array(beside))


def test_strategies_are_columns_of_one_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["compare", "--strategies", "--out", str(out), "--trainer.max_steps", "2", *QUICK]) == 0
    found = lines(out)
    assert [line["column"] for line in found] == ["study_transforms", "study_penalty", "study_upscaling"]
    assert {line["network"] for line in found} == {"demo"}
    assert {line["target"] for line in found} == {"logits:king penguin"}
    assert all({"p(demo/antialiased)", "p(demo/stylized)"} <= line["scores"].keys() for line in found)
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3


def test_resume_goes_on_with_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--networks", "demo", "demo/stylized", *BATCH, *QUICK, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("demo/images/*.png")}
    for file in (tmp_path / "out" / "demo-stylized").glob("jobs/*/done.jsonl"):
        file.unlink()
    (tmp_path / "out" / "comparison.jsonl").unlink()
    assert main([*words, "--resume"]) == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(lines(tmp_path / "out")) == 6
    assert len(list((tmp_path / "out").glob("events.*"))) == 1
    assert main([*words, "--resume", "--seed", "3"]) == 2
    assert "started with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--networks", "demo", "demo/antialised"], "did you mean demo/antialiased"),
        (["--networks", "demo", "--weights", "a", "b"], "2 files for 1 networks"),
        (["--networks", "demo", "demo"], "name each once"),
        (["--network", "demo"], "with --networks"),
        (["--resume"], "add --out FOLDER"),
        (["--strategies", "seed_penalti"], "did you mean study_penalty"),
        (["--targets", "logits:pizzza"], "did you mean pizza"),
    ],
)
def test_mistakes_are_said_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    out = [] if "--resume" in words else ["--out", str(tmp_path / "out")]
    assert main(["compare", *words, *out, *QUICK]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_to_resume_and_taken_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--resume", "--out", str(tmp_path / "none"), *QUICK]) == 2
    assert "nothing to resume" in capsys.readouterr().err
    (tmp_path / "taken").write_text("mine")
    assert main(["compare", "--out", str(tmp_path / "taken"), *QUICK]) == 2
    assert "is a file" in capsys.readouterr().err


def test_fail_fast_stops_at_what_is_rendered_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By --resume one comes past each bad column, and to the comparison in the end."""
    out = ["--out", str(tmp_path / "out"), "--fail-fast"]
    broken = [*BATCH[:2], "--trainer.max_steps", "100", "--model.optimizer.lr", "1e60", *QUICK]
    networks = ["--networks", "demo", "demo/antialiased"]
    for number, name in ((1, "demo"), (2, "demo/antialiased")):
        assert main(["compare", *networks, *out, *broken, *(["--resume"] if number > 1 else [])]) == 1
        assert f"{name} has targets that are not done; continue with --resume" in capsys.readouterr().err
        assert len(list((tmp_path / "out").glob("*/manifest.jsonl"))) == number
    assert main(["compare", *networks, *out, *broken, "--resume"]) == 1
    assert (tmp_path / "out" / "comparison.jsonl").is_file()


@pytest.mark.slow
def test_the_studys_networks_are_compared_from_files_of_the_published_formats(tmp_path: Path) -> None:
    """Random weights: all of the way but what the pictures look like."""
    torch.manual_seed(0)
    plain, blurred = build_torchvision("resnet50"), antialiased_resnet50(4)
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    torch.save({"state_dict": blurred.state_dict()}, tmp_path / "blurred.pth")
    wrapped = {f"module.{key}": value for key, value in plain.state_dict().items()}
    torch.save({"epoch": 60, "arch": "resnet50", "state_dict": wrapped}, tmp_path / "stylized.pth.tar")
    networks = ["torchvision/resnet50:IMAGENET1K_V1", "antialiased/resnet50", "stylized/resnet50_sin"]
    files = [str(tmp_path / name) for name in ("plain.pth", "blurred.pth", "stylized.pth.tar")]
    words = ["--networks", *networks, "--weights", *files, "--config", "study_classes", "--out", str(tmp_path / "out")]
    main(["compare", *words, "--trainer.max_steps", "1", *QUICK])
    found = lines(tmp_path / "out")
    wanted = {"logits:brambling", "logits:black swan", "logits:pizza", "logits:iPod"}
    assert {line["target"] for line in found} == wanted
    assert {line["column"] for line in found} == set(networks)
    assert all(sum(key.startswith("p(") and "own size" not in key for key in line["scores"]) == 2 for line in found), (
        found[0]["scores"].keys()
    )
