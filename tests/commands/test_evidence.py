"""What is printed of evidence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_fv.commands.evidence import SHOWN, print_distance, print_evidence
from lightning_fv.runs.evidence import Evidence
from lightning_fv.runs.folder import RunFolder


def test_verdicts_are_counted_and_reasons_given_of_what_is_not_trusted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [
        Evidence("a", "logits:pizza", verdict="trust", reasons=["fires"]),
        Evidence("b", "logits:lion", verdict="distrust", reasons=["the path", "the judges"]),
        Evidence("c", "layer2:5", verdict="doubt", reasons=["maybe"]),
        Evidence("d", "layer2:6", reasons=["the picture\x1b[2J is missing"]),
        Evidence("e", "layer2:7", verdict="trust"),
    ]
    print_evidence(RunFolder(Path("run")), found)
    assert capsys.readouterr().out.splitlines() == [
        "2 trusted, 1 doubtful, 1 not trusted, 1 no verdict",
        "  logits:lion: not trusted: the path; the judges",
        "  layer2:6: no verdict: the picture\\x1b[2J is missing",
        f"evidence       {Path('run') / 'evidence.jsonl'}",
    ]


def test_many_are_cut_short_and_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_evidence(RunFolder("run"), [Evidence(str(n), str(n), reasons=["x"]) for n in range(SHOWN + 3)])
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1 + SHOWN + 2
    assert told[-2] == "  and 3 more"
    print_evidence(RunFolder("run"), [])
    assert capsys.readouterr().out.splitlines()[0] == "no finished picture"


def test_one_picture_and_one_photo_are_counted_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    responses: Any = SimpleNamespace(of=lambda *_: SimpleNamespace(photos=[None]))
    monkeypatch.setattr("lightning_fv.commands.evidence.NetworkResponses", responses)
    monkeypatch.setattr("lightning_fv.commands.evidence.distance_from_photos", lambda *_: (None, 1))
    nothing: Any = None
    print_distance(RunFolder("run"), nothing, nothing)
    assert "but got 1 picture and 1 photo\n" in capsys.readouterr().out
