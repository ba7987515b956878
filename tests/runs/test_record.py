import dataclasses
import json
from pathlib import Path

import pytest

from lightning_fv.runs.record import Record, read_manifest, write_manifest

DONE = Record(
    id="0000-logits-pizza",
    target="logits:pizza",
    network="demo",
    status="done",
    score=12.345678901234567,
    image="images/0000-logits-pizza.png",
    size=[37, 29],
    steps=128,
    seed=2**63 - 1,
    seconds=0.1,
    scores={"probability": 0.5, "rival": "monarch"},
)
DEAD = dataclasses.replace(DONE, id="0001", target="layer2:3", status="dead", score=0.0, image=None, scores={})
DIVERGED = dataclasses.replace(DONE, id="0002", status="diverged", score=None, image=None)

NAMES = [
    "crème brûlée ☃ 比薩",
    "<script>alert('x')</script>",
    'quote " and \\ backslash',
    "two\nlines\r\nand a\ttab",
    "null \x00 and bell \x07",
    "",
    "a 'b' {c} %s",
]


def test_round_trip(tmp_path: Path) -> None:
    records = [DONE, DEAD, DIVERGED, dataclasses.replace(DONE, status="partial", steps=7)]
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, records)
    assert read_manifest(path) == records
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.jsonl", [])
    assert read_manifest(tmp_path / "manifest.jsonl") == []


def test_one_line_of_json_per_record(tmp_path: Path) -> None:
    records = [dataclasses.replace(DONE, target=name) for name in NAMES]
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, records)
    content = path.read_bytes()
    assert content.endswith(b"\n")
    lines = content[:-1].split(b"\n")
    assert [json.loads(line) for line in lines] == [dataclasses.asdict(record) for record in records]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_back(tmp_path: Path, name: str) -> None:
    records = [dataclasses.replace(DONE, target=name, id=name, scores={"rival": name}), DEAD]
    write_manifest(tmp_path / "manifest.jsonl", records)
    assert read_manifest(tmp_path / "manifest.jsonl") == records


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_names_with_unicodes_own_line_separators_come_back(tmp_path: Path, separator: str) -> None:
    """JSON does not escape them, and str.splitlines would take them for the end of a record."""
    records = [dataclasses.replace(DONE, target=f"one{separator}two"), DEAD]
    write_manifest(tmp_path / "manifest.jsonl", records)
    assert read_manifest(tmp_path / "manifest.jsonl") == records


def test_unicode_stays_readable() -> None:
    assert "crème ☃" in dataclasses.replace(DONE, target="crème ☃").to_json()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_know_are_refused(tmp_path: Path, wrong: float) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, [DEAD])
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(path, [DONE, dataclasses.replace(DONE, score=wrong)])
    assert read_manifest(path) == [DEAD]
