"""Pictures of several networks side by side, each rated by the others."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_fv import load_network, render
from lightning_fv.comparison import compare_runs, markdown, summaries
from lightning_fv.functional import photo_high_frequency, resize_images
from lightning_fv.runs.comparison_folder import ComparisonFolder
from lightning_fv.runs.record import Record

TWINS = ("demo", "demo/antialiased", "demo/stylized")
TARGETS = "logits:pizza+logits:lion+layer2:5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all") / "side by side"
    folder.mkdir()
    networks = {name: load_network(name) for name in TWINS}
    runs = {name: ComparisonFolder(folder).column(name).path for name in TWINS}
    for name, network in networks.items():
        render(network, TARGETS, steps=2, size=80, out=runs[name], progress=False)
    rated = compare_runs(runs, list(networks.values()), folder)
    assert [json.loads(record.to_json()) for record in rated["demo"]] == [
        {key: value for key, value in line.items() if key != "column"} for line in lines(folder)[:3]
    ]
    return folder


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ComparisonFolder(folder).records.read_text().splitlines()]


def test_pictures_are_rated_by_the_other_networks(folder: Path) -> None:
    for line in lines(folder):
        others = {f"p({name}{end}" for name in TWINS if name != line["column"] for end in (")", ", own size)")}
        assert {key for key in line["scores"] if key.startswith("p(")} == (
            others if "logits" in line["target"] else set()
        )
    line = next(line for line in lines(folder) if line["column"] == "demo" and line["target"] == "logits:lion")
    judge = load_network("demo/stylized")
    with Image.open(folder / line["image"]) as file:
        picture = torch.from_numpy(np.array(file)).permute(2, 0, 1)[None] / 255
    for shown, key in ((resize_images(picture, (64, 64)), "p(demo/stylized)"), (picture, "p(demo/stylized, own size)")):
        expected = judge(shown).softmax(1)[0, judge.categories.index("lion")]
        assert line["scores"][key] == pytest.approx(float(expected), abs=1e-4)
    assert line["scores"]["p(demo/stylized)"] != line["scores"]["p(demo/stylized, own size)"]
    ratio = line["scores"]["high_frequency"] / photo_high_frequency("tiny_imagenet")
    assert line["scores"]["high_frequency_ratio"] == pytest.approx(ratio, abs=1e-3)


def test_what_is_written(folder: Path) -> None:
    place = ComparisonFolder(folder)
    assert place.page.read_text().count("<img") == 9
    with Image.open(place.sheet) as sheet:
        assert sheet.width > 3 * 200
        assert sheet.height > 3 * 200


def test_tensorboard_has_the_comparison_and_the_columns(folder: Path) -> None:
    events = EventAccumulator(str(folder))
    events.Reload()
    (picture,) = events.Images("comparison")
    assert picture.encoded_image_string == (folder / "comparison.png").read_bytes()
    assert list(folder.glob("demo-stylized/jobs/*/events.out.tfevents.*"))


def test_a_comparison_that_is_made_again_has_one_event_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.jsonl").write_text(record("logits:a").to_json() + "\n")
    for _ in range(2):
        compare_runs({"one": run}, [], tmp_path)
        assert len(list(tmp_path.glob("events.*"))) == 1


def record(target: str, **scores: float) -> Record:
    return Record(target, target, "a", "done", 2.0, None, [64, 64], 1, 0, 1.0, dict(scores))


def test_one_of_several_pictures_is_rated_as_its_class(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    Image.new("RGB", (64, 64), "orange").save(run / "x.png")
    second = dataclasses.replace(
        record("logits:pizza #2"), unit="logits:pizza", facet=2, image="x.png", id="logits-0011-pizza-2"
    )
    (run / "manifest.jsonl").write_text(second.to_json() + "\n")
    rated = compare_runs({"one": run}, [load_network("demo")], tmp_path)["one"]
    assert rated[0].scores.keys() == {"p(demo)", "p(demo, own size)"}


def test_means_and_table() -> None:
    columns = {
        "one": [
            record("x", probability=0.5, **{"p(b)": 0.2, "p(c)": 0.4, "p(b, own size)": 0.7}),
            record("y", probability=1.0),
        ],
        "two": [record("x")],
    }
    means = summaries(columns)
    assert means["one"]["probability"] == pytest.approx(0.75)
    assert means["one"]["transfer"] == pytest.approx(0.3)
    assert means["one"]["transfer, own size"] == pytest.approx(0.7)
    assert means["two"] == {"score": 2.0}
    assert "| one | 2 of 2 | 2 | 0.75 | 0.20 | 0.70 | 0.40 |" in markdown(columns)
