"""Networks and recipes side by side, by the real command."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_fv.commands.main import main
from lightning_fv.comparison import compare_runs, markdown, summaries
from lightning_fv.functional import resize_images
from lightning_fv.metrics import natural_high_frequency
from lightning_fv.networks import load_network
from lightning_fv.networks.antialiased import antialiased_resnet50
from lightning_fv.networks.torchvision import build_torchvision
from lightning_fv.runs.record import Record, read_manifest

TWINS = ("demo", "demo/antialiased", "demo/stylized")
QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
BATCH = ["--targets", "logits:pizza+logits:lion+layer2:5", "--trainer.max_steps", "3"]


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for key, value in attrs if key in ("href", "src") and value]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all") / "side by side"
    assert main(["compare", *BATCH, "--out", str(folder), *QUICK]) == 0
    return folder


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "comparison.jsonl").read_text().splitlines()]


def test_each_column_is_the_run_that_fit_makes_of_it(folder: Path, tmp_path: Path) -> None:
    """Same targets, same seeds: bit for bit what one gets without the comparison."""
    assert main([*BATCH, "--network", "demo/antialiased", "--out", str(tmp_path / "alone"), *QUICK]) == 0
    for record in read_manifest(tmp_path / "alone" / "manifest.jsonl"):
        alone, beside = (Image.open(run / record.image) for run in (tmp_path / "alone", folder / "demo-antialiased"))
        assert np.array_equal(np.array(alone), np.array(beside))


def test_pictures_are_rated_by_the_other_networks(folder: Path) -> None:
    for line in lines(folder):
        others = {f"p({name})" for name in TWINS if name != line["column"]}
        assert {key for key in line["scores"] if key.startswith("p(")} == (
            others if "logits" in line["target"] else set()
        )
    line = next(line for line in lines(folder) if line["column"] == "demo" and line["target"] == "logits:lion")
    judge = load_network("demo/stylized")
    with Image.open(folder / line["image"]) as file:
        picture = torch.from_numpy(np.array(file)).permute(2, 0, 1)[None] / 255
    expected = judge(resize_images(picture, (64, 64))).softmax(1)[0, judge.categories.index("lion")]
    assert line["scores"]["p(demo/stylized)"] == pytest.approx(float(expected), abs=1e-4)
    ratio = line["scores"]["high_frequency"] / natural_high_frequency(64)
    assert line["scores"]["high_frequency_ratio"] == pytest.approx(ratio, abs=1e-3)


def test_the_page_shows_every_picture_and_its_links_lead_somewhere(folder: Path) -> None:
    page = Links()
    page.feed((folder / "index.html").read_text())
    assert page.tags.count("img") == 9
    assert all((folder / unquote(link)).is_file() for link in page.found)
    with Image.open(folder / "comparison.png") as sheet:
        assert sheet.width > 3 * 200
        assert sheet.height > 3 * 200


def test_tensorboard_has_the_comparison_and_the_columns(folder: Path) -> None:
    events = EventAccumulator(str(folder))
    events.Reload()
    (picture,) = events.Images("comparison")
    assert picture.encoded_image_string == (folder / "comparison.png").read_bytes()
    assert list(folder.glob("demo-stylized/jobs/*/events.out.tfevents.*"))


def test_strategies_are_columns_of_one_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["compare", "--strategies", "--out", str(out), "--trainer.max_steps", "2", *QUICK]) == 0
    found = lines(out)
    assert [line["column"] for line in found] == ["seed_transforms", "seed_penalty", "seed_upscaling"]
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
        (["--strategies", "seed_penalti"], "did you mean seed_penalty"),
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
    words = ["--networks", *networks, "--weights", *files, "--config", "seed_classes", "--out", str(tmp_path / "out")]
    main(["compare", *words, "--trainer.max_steps", "1", *QUICK])
    found = lines(tmp_path / "out")
    wanted = {"logits:brambling", "logits:black swan", "logits:pizza", "logits:iPod"}
    assert {line["target"] for line in found} == wanted
    assert {line["column"] for line in found} == set(networks)
    assert all(sum(key.startswith("p(") for key in line["scores"]) == 2 for line in found)


def record(target: str, **scores: float) -> Record:
    return Record(target, target, "a", "done", 2.0, None, [64, 64], 1, 0, 1.0, dict(scores))


def test_means_and_table() -> None:
    columns = {
        "one": [record("x", probability=0.5, **{"p(b)": 0.2, "p(c)": 0.4}), record("y", probability=1.0)],
        "two": [record("x")],
    }
    means = summaries(columns)
    assert means["one"]["probability"] == pytest.approx(0.75)
    assert means["one"]["transfer"] == pytest.approx(0.3)
    assert means["two"] == {"score": 2.0}
    assert "| one | 2 of 2 | 2 | 0.75 | 0.20 | 0.40 |" in markdown(columns)


def test_a_hostile_name_is_text_on_the_page(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.jsonl").write_text(record("logits:<script>alert(1)</script>").to_json() + "\n")
    compare_runs({"<b>bold</b>": run}, [], tmp_path)
    page = Links()
    page.feed((tmp_path / "index.html").read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags


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
