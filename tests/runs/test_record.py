import dataclasses
import json
import os
from pathlib import Path

import pytest

from lightning_fv.runs.digests import digest
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


def test_one_picture_of_several(tmp_path: Path) -> None:
    second = dataclasses.replace(DONE, target="logits:pizza #2", unit="logits:pizza", facet=2)
    write_manifest(tmp_path / "manifest.jsonl", [second])
    (found,) = read_manifest(tmp_path / "manifest.jsonl")
    assert (found.target, found.unit, found.facet) == ("logits:pizza #2", "logits:pizza", 2)


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
    records = [dataclasses.replace(DONE, target=name, scores={"rival": name}), DEAD]
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


LINE = DONE.to_json()


def changed(**values: object) -> str:
    return json.dumps({**json.loads(LINE), **values})


@pytest.mark.parametrize(
    "line",
    [
        "17", "[]", '"text"', "null", "{}", LINE[:-1], f"{LINE}{LINE}", "\ufeff" + LINE,
        changed(more=1), LINE.replace('"steps"', '"step"'), changed(status="finished"), changed(status=["done"]),
        changed(status=None), changed(id=5), changed(id="/etc/passwd"), changed(id="../x"), changed(id=""), changed(target=["logits:1"]), changed(target="\ud800"), changed(network=None),
        changed(score="1"), changed(score=True), changed(score=[1.0]), changed(score=10**400), LINE.replace("12.3", "1e999"),
        LINE.replace("12.345678901234567", "NaN"), LINE.replace("12.345678901234567", "-Infinity"),
        LINE.replace("128", "1" * 5000), LINE.replace("128", "[" * 100_000 + "]" * 100_000),
        changed(size="37x29"), changed(size=["37", "29"]), changed(size=[37]), changed(size=[37, 0]), changed(size=[37.0, 29]),
        changed(steps="128"), changed(steps=1.5), changed(seed=None), changed(seconds="0.1"), changed(seconds=None),
        changed(scores=[0.5]), changed(scores={"p": None}), changed(scores={"p": {"q": 1}}), changed(scores={"p": [1]}),
        changed(error=5), changed(digest=5), changed(unit=5), changed(facet=1.0),
        changed(image=5), changed(image=""), changed(image="/etc/passwd"), changed(image="../other/images/x.png"),
        changed(image="images/../../x.png"), changed(image="images\\x.png"), changed(image="./x.png"), changed(image="a\0b"),
        changed(image="images/"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(f"{LINE}\n{line}\n", errors="surrogatepass")
    with pytest.raises(ValueError, match=r"\w"):
        read_manifest(tmp_path / "manifest.jsonl")


def test_whole_numbers_are_scores_too(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(changed(score=3, seconds=1, scores={"restarts": 2}, seed=-(2**70)))
    (record,) = read_manifest(tmp_path / "manifest.jsonl")
    assert (record.score, record.scores) == (3, {"restarts": 2})


def test_a_change_of_record_or_picture_is_found(tmp_path: Path) -> None:
    picture = tmp_path / str(DONE.image)
    picture.parent.mkdir()
    picture.write_bytes(b"picture")
    record = dataclasses.replace(DONE)
    assert not record.is_intact(tmp_path)  # not signed
    record.sign(digest(b"picture"))
    write_manifest(tmp_path / "manifest.jsonl", [record])
    (found,) = read_manifest(tmp_path / "manifest.jsonl")
    assert found == record
    assert found.is_intact(tmp_path)
    values = {**dataclasses.asdict(DEAD), "scores": {"probability": 0.5}, "image": "images/other.png", "steps": 127}
    values |= {"seed": 2**63 - 2, "size": [37, 30], "error": "x", "network": "demo2"}
    values |= {"unit": "layer2", "facet": 2}
    del values["seconds"]  # of the machine, not of the picture
    assert dataclasses.replace(found, seconds=0.2).is_intact(tmp_path)
    (tmp_path / "images" / "other.png").write_bytes(b"picture")
    for name, value in values.items():
        assert not dataclasses.replace(found, **{name: value}).is_intact(tmp_path), name
    picture.write_bytes(b"pictura")
    assert not found.is_intact(tmp_path)
    picture.unlink()
    assert not found.is_intact(tmp_path)
    os.mkfifo(picture)
    assert not found.is_intact(tmp_path)


def test_a_record_without_a_picture_is_signed_too(tmp_path: Path) -> None:
    record = dataclasses.replace(DEAD)
    record.sign()
    assert record.is_intact(tmp_path)
    record.score = 1.0
    assert not record.is_intact(tmp_path)
