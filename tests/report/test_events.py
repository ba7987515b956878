"""What TensorBoard reads of the evidence."""

import dataclasses
import io
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_fv.report.events import image_event, log_evidence
from lightning_fv.runs.folder import RunFolder
from tests.report.test_evidence import PIZZA, evidence_of
from tests.report.test_gallery import DONE

SIZES = {"images": 0, "scalars": 0, "tensors": 0}


def read(run: RunFolder) -> EventAccumulator:
    accumulator = EventAccumulator(str(run.path), size_guidance=SIZES)
    accumulator.Reload()
    return accumulator


def logged(folder: Path) -> RunFolder:
    """The second of three pictures has no evidence, the third little."""
    run = RunFolder(folder)
    Image.new("RGB", (30, 20), "red").save(run.sheet)
    records = [dataclasses.replace(DONE, id=id_, target=f"logits:{id_}") for id_ in "abc"]
    evidence = {
        "a": evidence_of("a"),
        "c": evidence_of(
            "c", faithful={"photo_multiple": "not finite"}, path={}, verdict="unknown", brief="", reasons=["\ud800"]
        ),
    }
    log_evidence(run, records, evidence)
    return run


def test_a_chart_for_each_number_and_a_text_for_each_picture(tmp_path: Path) -> None:
    events = read(logged(tmp_path))
    scalars = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert scalars == {
        "evidence/photo_multiple": [(0, pytest.approx(3.14159))],
        "evidence/two_choice": [(0, pytest.approx(0.95))],
        "evidence/path_similarity": [(0, pytest.approx((0.123456 + 1.75) / 2))],
    }
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert texts == {
        "verdict/logits:a": "**trusted: right in 95 %**\n\n- fires 3.1 times the best of 5,000 photos\n- both judges agree",
        "verdict/logits:c": "**no verdict**\n\n- ?",
    }
    assert events.SummaryMetadata("verdict/logits:a").plugin_data.plugin_name == "text"


def test_the_sheet_is_shown(tmp_path: Path) -> None:
    (event,) = read(logged(tmp_path)).Images("sheet")
    with Image.open(io.BytesIO(event.encoded_image_string)) as sheet:
        assert (event.width, event.height) == sheet.size == (30, 20)


def test_older_events_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.other").touch()
    (tmp_path / "events.out.tfevents.1.evidence").write_bytes(b"old")
    run = logged(tmp_path)
    files = sorted(file.name.rpartition(".")[2] for file in run.path.glob("events.*"))
    assert files == ["evidence", "other"]
    assert len(read(run).Scalars("evidence/two_choice")) == 1


def test_a_run_without_a_sheet(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    log_evidence(run, [DONE], {DONE.id: PIZZA})
    assert read(run).Tags()["images"] == []


def test_a_picture(tmp_path: Path) -> None:
    event = image_event("layer3/5", 3, 4, 7, b"png")
    (value,) = event.summary.value
    assert (event.step, value.tag, value.image.height, value.image.width) == (7, "layer3/5", 3, 4)
    assert value.image.encoded_image_string == b"png"
