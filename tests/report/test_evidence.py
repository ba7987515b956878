"""What the report knows of a run's evidence, and what it passes on to the page."""

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lightning_fv.report.evidence import evidence_data, known_evidence
from lightning_fv.runs.evidence import Evidence, Example, write_evidence
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record

PIZZA = Evidence(
    id="logits-0011-pizza",
    target="logits:pizza",
    faithful={"score": 12.3456, "photo_multiple": 3.14159, "two_choice": 0.95, "rank": 1.0},
    plausible={"saturated": 0.0, "p(big)": 0.98765, "match(small)": "layer4:7"},
    path={"layer1": 0.123456, "layer2": None, "logits": 1.75},
    examples=[
        Example("a/pizza 1.jpg", 4.56789, "photos/0a.jpg", (0.1, 0.25, 0.904, 1.0)),
        Example("a/pie.jpg", 3.0, "photos/0b.jpg"),
    ],
    least=[Example("b/sea.jpg", -2.0, "photos/0c.jpg")],
    verdict="trust",
    reasons=["fires 3.1 times the best of 5,000 photos", "both judges agree"],
    brief="right in 95 %",
    made_from="0123",
)


RECORDS = [Record(id_, id_, "demo", "done", 1.0, None, [64, 64], 1, 0, 0.1) for id_ in (PIZZA.id, "b")]


def evidence_of(id_: str, **values: object) -> Evidence:
    return dataclasses.replace(PIZZA, id=id_, **values)  # type: ignore[arg-type]


def add_evidence(run: Path, *evidence: Evidence) -> None:
    """Write evidence into a run folder, with thumbnails of one colour."""
    for found in evidence:
        for example in (*found.examples, *found.least):
            (run / example.file).parent.mkdir(exist_ok=True)
            Image.new("RGB", (64, 64), (20, 220, 120)).save(run / example.file)
    write_evidence(RunFolder(run).evidence, evidence)


def test_the_evidence_is_known_by_its_record(tmp_path: Path) -> None:
    add_evidence(tmp_path, PIZZA, evidence_of("b"))
    assert known_evidence(RunFolder(tmp_path), RECORDS) == {PIZZA.id: PIZZA, "b": evidence_of("b")}


def test_evidence_about_another_picture_of_the_target_is_not_shown(tmp_path: Path) -> None:
    """Whether that picture was signed or not, and the one that is there now."""
    signed = [dataclasses.replace(record, digest="now") for record in RECORDS]
    add_evidence(tmp_path, evidence_of(PIZZA.id, digest="then"), evidence_of("b", digest="now"), evidence_of("gone"))
    with pytest.warns(UserWarning, match=r"out of date: 1 of 2 pictures .*lightning-fv report .* --photos") as told:
        assert [*known_evidence(RunFolder(tmp_path), signed)] == ["b"]
    assert len(told) == 1
    with pytest.warns(UserWarning, match="2 of 2 pictures"):
        assert known_evidence(RunFolder(tmp_path), RECORDS) == {}


def test_a_run_without_evidence(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert known_evidence(RunFolder(tmp_path), RECORDS) == {}


LINE = PIZZA.to_json()


@pytest.mark.parametrize(
    "content",
    [
        LINE[:60],
        "[1, 2]",
        "17",
        '{"id": "a"}',
        LINE.replace('"trust"', '"sure"'),
        LINE.replace("12.3456", "[]"),
        LINE.replace("12.3456", "NaN"),
        LINE.replace("4.56789", "Infinity"),
        LINE.replace("12.3456", f"1{400 * '0'}"),
        LINE.replace("0.123456", '{"a": 1}'),
        LINE.replace(json.dumps(PIZZA.faithful), "[1]"),
        LINE.replace("photos/0a.jpg", "../0a.jpg"),
        LINE.replace("photos/0a.jpg", "/etc/passwd"),
        LINE.replace("0.904", "NaN"),
        f"{100_000 * '['}",
    ],
)
def test_damaged_evidence_is_left_out_with_one_warning(tmp_path: Path, content: str) -> None:
    run = RunFolder(tmp_path)
    run.evidence.write_text(f"{LINE}\n{content}\n")
    with pytest.warns(UserWarning, match=r"evidence.jsonl is damaged \(.*lightning-fv report .* --photos") as told:
        assert known_evidence(run, RECORDS) == {}
    assert len(told) == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.write_bytes(b"\xff\xfe")])
def test_evidence_that_is_no_text_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    run = RunFolder(tmp_path)
    make(run.evidence)
    with pytest.warns(UserWarning, match="is damaged"):
        assert known_evidence(run, RECORDS) == {}


def test_the_page_gets_what_pictures_share_once() -> None:
    doubtful = evidence_of(
        "b",
        verdict="doubt",
        brief="too few photos",
        reasons=[],
        faithful={"score": 1e-9, "seeds": 3.0},
        plausible={},
        path={"layer1": 0.5},
        examples=PIZZA.examples[1:],
        least=[],
    )
    data = evidence_data([PIZZA, None, doubtful])
    assert data is not None
    assert json.loads(json.dumps(data)) == {
        "verdicts": [
            ["trust", "trusted"],
            ["doubt", "doubtful"],
            ["distrust", "not trusted"],
            ["unknown", "no verdict"],
        ],
        "faithful": ["score", "photo_multiple", "two_choice", "rank", "seeds"],
        "plausible": ["saturated", "p(big)", "match(small)"],
        "paths": [["layer1", "layer2", "logits"], ["layer1"]],
        "photos": [
            ["photos/0a.jpg", "a/pizza 1.jpg"],
            ["photos/0b.jpg", "a/pie.jpg"],
            ["photos/0c.jpg", "b/sea.jpg"],
        ],
        "rows": [
            [
                0,
                "right in 95 %",
                PIZZA.reasons,
                [12.3456, 3.14159, 0.95, 1, None],
                [0, 0.98765, "layer4:7"],
                0,
                [0.123456, None, 1.75],
                [[0, 4.57, 10, 25, 90, 100], [1, 3]],
                [[2, -2]],
            ],
            None,
            [1, "too few photos", [], [1e-9, None, None, None, 3], [None, None, None], 1, [0.5], [[1, 3]], []],
        ],
    }


def test_no_evidence_is_no_data() -> None:
    assert evidence_data([]) is None
    assert evidence_data([None, None]) is None


def test_numbers_that_are_not_finite_are_told_in_words(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_evidence(run.evidence, [evidence_of("b", faithful={"score": math.nan}, path={"layer1": math.inf})])
    data = evidence_data([*known_evidence(run, RECORDS).values()])
    assert data is not None
    assert data["rows"][0][3] == ["not finite"]
    assert data["rows"][0][6] == [None]
