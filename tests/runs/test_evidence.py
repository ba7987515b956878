"""The file of evidence."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from lightning_fv.runs.evidence import Evidence, Example, read_evidence, write_evidence

FOUND = Evidence(
    "logits-1",
    "logits:pizza",
    {"score": 1.5, "photos": "hardly ever responds"},
    {"p(demo)": 0.25},
    {"conv1": 0.5, "logits": None},
    [Example("a/b.jpg", 2.0, "photos/0.jpg", (0.0, 0.25, 0.5, 1.0))],
    [],
    "doubt",
    ["fires half as much"],
    "too few photos",
    "photos",
    100,
    ["demo"],
    "abc",
)


def test_evidence_is_read_as_written(tmp_path: Path) -> None:
    write_evidence(tmp_path / "evidence.jsonl", [FOUND, Evidence("b", "b")])
    assert read_evidence(tmp_path / "evidence.jsonl") == [FOUND, Evidence("b", "b")]


def test_numbers_have_six_digits_and_what_is_not_finite_is_said() -> None:
    found = Evidence(
        "a",
        "a",
        {"score": 1234.56789, "x": math.nan, "y": -math.inf},
        {"p": 1 / 3},
        {"conv1": math.nan, "conv2": 2 / 3, "conv3": None},
        [Example("a.jpg", 1 / 7, "photos/a.jpg", (0.0, 1 / 3, 0.5, 1.0))],
    )
    values = json.loads(found.to_json())
    assert values["faithful"] == {"score": 1234.57, "x": "not finite", "y": "not finite"}
    assert values["plausible"] == {"p": 0.333333}
    assert values["path"] == {"conv1": None, "conv2": 0.666667, "conv3": None}
    assert values["examples"][0]["value"] == 0.142857
    assert values["examples"][0]["crop"][1] == 0.333333


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "perhaps"}, {"verdict": ["trust"]}, {"faithful": []}, {"faithful": {"a": None}}, {"path": 3},
        {"path": {"a": [1]}}, {"plausible": {"a": True}}, {"plausible": {"a": math.nan}}, {"reasons": 3},
        {"reasons": [1]}, {"id": 3}, {"target": None}, {"photo_count": "many"}, {"photos": 3}, {"judges": [3]},
        {"examples": 3}, {"examples": [3]}, {"examples": None}, {"least": [{"photo": "a"}]}, {"more": 1},
        {"target": "\ud800"}, {"made_from": 1},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_lines_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    file.write_text(json.dumps({**json.loads(FOUND.to_json()), **changes}) + "\n")
    with pytest.raises(ValueError, match="evidence"):
        read_evidence(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../a.jpg"}, {"file": "/a.jpg"}, {"file": "a\\b.jpg"}, {"file": "a\0.jpg"}, {"file": 3}, {"photo": 1},
        {"value": "2"}, {"value": math.nan}, {"crop": [0, 0, 1]}, {"crop": [0, 0, 1, 2]}, {"crop": [0, 0, 1, "1"]},
        {"crop": [0, 0, 1, math.nan]}, {"crop": None},
    ],
    ids=str,
)  # fmt: skip
def test_examples_stay_in_the_run_folder_and_have_numbers(changes: dict[str, Any], tmp_path: Path) -> None:
    values = json.loads(FOUND.to_json())
    values["examples"][0] |= changes
    (tmp_path / "evidence.jsonl").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"evidence|unpack"):
        read_evidence(tmp_path / "evidence.jsonl")


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", '"a"', "[" * 100_000, "{}", "\x00"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "evidence.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"."):
        read_evidence(tmp_path / "evidence.jsonl")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "evidence.jsonl")
    with pytest.raises(OSError, match="pipe"):
        read_evidence(tmp_path / "evidence.jsonl")
