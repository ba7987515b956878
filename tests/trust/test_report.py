"""The report on a finished run: incremental, shared, and never stopped by one picture."""

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lightning_fv import VisionNetwork, resolve_targets
from lightning_fv.errors import RunFolderError, UsageError
from lightning_fv.objectives import Function
from lightning_fv.parameterizations import MACO
from lightning_fv.report import write_report
from lightning_fv.runs.evidence import read_evidence
from lightning_fv.runs.folder import RunFolder
from lightning_fv.trust.evaluate import Evaluator
from lightning_fv.trust.report import report_run
from tests.helpers import TinyNet, autoencoder
from tests.trust.runs import COUNT, inputs_of, network_of, one_channel, rendered, write_photos

TARGETS = "logits:0-2+conv1:3"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that are evaluated, by record id."""
    seen: list[str] = []
    call = Evaluator.__call__

    def counted(self: Evaluator, targets: Any, ids: Any, *rest: Any) -> Any:
        seen.extend(ids)
        return call(self, targets, ids, *rest)

    monkeypatch.setattr(Evaluator, "__call__", counted)
    return seen


def test_each_finished_picture_has_a_line_in_the_order_of_the_manifest(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    found = report_run(run, inputs_of(network, TARGETS, photos, judges=[network_of(TinyNet(1), "judge")]))
    assert [evidence.id for evidence in found] == [record.id for record in run.records()]
    assert [evidence.to_json() for evidence in read_evidence(run.evidence)] == [
        evidence.to_json() for evidence in found
    ]
    for evidence in found:
        assert (evidence.photos, evidence.photo_count, evidence.judges) == ("photos", COUNT, ["judge"])
        assert evidence.verdict != "unknown"
        assert evidence.reasons
        for example in (*evidence.examples, *evidence.least):
            assert (run.path / example.file).is_file()
            assert (photos / example.photo).is_file()
    run.check_entries()


def test_a_second_call_evaluates_nothing_and_writes_nothing(tmp_path: Path, photos: Path, evaluated: list[str]) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    found = report_run(run, inputs_of(network, TARGETS, photos))
    assert len(evaluated) == 4
    stamps = {
        file: file.stat().st_mtime_ns for file in run.path.rglob("*") if file.is_file() and file.suffix != ".lock"
    }
    again = report_run(RunFolder(run.path), inputs_of(network, TARGETS, photos))
    assert len(evaluated) == 4
    assert [e.to_json() for e in again] == [e.to_json() for e in found]
    assert {f: f.stat().st_mtime_ns for f in run.path.rglob("*") if f.is_file() and f.suffix != ".lock"} == stamps


def test_only_what_changed_is_evaluated_again(tmp_path: Path, photos: Path, evaluated: list[str]) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    report_run(run, inputs_of(network, TARGETS, photos))
    first, last = run.job_folders()[0], run.job_folders()[-1]
    assert first.path != last.path

    evaluated.clear()
    last.evidence_file.unlink()
    report_run(run, inputs_of(network, TARGETS, photos))
    assert len(evaluated) == 2

    evaluated.clear()
    first.evidence_file.write_text("damaged")
    report_run(run, inputs_of(network, TARGETS, photos))
    assert len(evaluated) == 2

    for changes in ({"judges": [network_of(TinyNet(1), "judge")]}, {"judges": [network_of(TinyNet(2), "judge")]}):
        evaluated.clear()
        report_run(run, inputs_of(network, TARGETS, photos, **changes))
        assert len(evaluated) == 4
    evaluated.clear()
    report_run(run, inputs_of(network, TARGETS, write_photos(tmp_path / "other", seed=1)))
    assert len(evaluated) == 4


def test_runs_of_other_seeds_tell_their_agreement(tmp_path: Path, photos: Path, evaluated: list[str]) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    report_run(run, inputs_of(network, TARGETS, photos))
    others = [rendered(tmp_path / f"seed {seed}", network, "logits:0-1", seed=seed) for seed in (1, 2)]
    evaluated.clear()
    found = report_run(run, inputs_of(network, TARGETS, photos, others=others))
    assert len(evaluated) == 2  # the job whose targets the others have
    assert [evidence.faithful.get("seeds") for evidence in found] == [3, 3, None, None]
    assert -1 <= float(found[0].faithful["seed_agreement"]) <= 1
    (tmp_path / "seed 1" / str(others[0].records()[0].image)).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="cannot be read"):
        found = report_run(run, inputs_of(network, TARGETS, photos, others=others))
    assert [evidence.faithful.get("seeds") for evidence in found] == [2, 3, None, None]
    with pytest.raises(UsageError, match="holds no picture of these targets by another seed"):
        report_run(run, inputs_of(network, TARGETS, photos, others=[run]))


def test_several_pictures_of_a_unit_are_compared(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    targets = "conv1:3 x3+logits:1"
    run = rendered(tmp_path / "run", network, targets, batch_size=8)
    *facets, only = report_run(run, inputs_of(network, targets, photos))
    assert [evidence.faithful["facets"] for evidence in facets] == [3, 3, 3]
    assert float(facets[0].plausible["diversity"]) > 0
    agreement = [evidence.faithful["facet_agreement"] for evidence in facets]
    assert agreement == pytest.approx(agreement[:1] * 3, abs=1e-5)
    assert "facets" not in only.faithful


def test_a_picture_that_is_missing_or_damaged_is_unknown_until_it_is_back(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    first, second, *_ = run.records()
    kept = (run.path / str(first.image)).read_bytes()
    (run.path / str(first.image)).unlink()
    (run.path / str(second.image)).write_bytes(kept[:200])
    found = report_run(run, inputs_of(network, TARGETS, photos))
    assert [evidence.verdict == "unknown" for evidence in found] == [True, True, False, False]
    assert all("cannot be read" in evidence.reasons[0] for evidence in found[:2])
    (run.path / str(first.image)).write_bytes(kept)
    found = report_run(run, inputs_of(network, TARGETS, photos))
    assert [evidence.verdict == "unknown" for evidence in found] == [False, True, False, False]


class Picky:
    """An objective that fails for some pictures."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def __call__(self, activations: dict[str, Tensor], images: Tensor) -> Tensor:
        if self.fails and float(images.std()) > 1e-6:
            raise RuntimeError("it does not like colours\nreally")
        return activations["conv1"].mean((1, 2, 3))

    def settings(self) -> str:
        return "picky"


def test_an_objective_that_fails_takes_no_other_with_it(tmp_path: Path, photos: Path) -> None:
    network, picky = network_of(), Picky(fails=False)
    targets: list[Any] = ["logits:0", Function(picky, layers=["conv1"], name="picky"), "conv1:1"]
    run = rendered(tmp_path / "run", network, targets, batch_size=3)
    inputs = inputs_of(network, targets, photos)
    picky.fails = True
    fine, failed, other = report_run(run, inputs)
    assert (failed.verdict, failed.reasons) == ("unknown", ["cannot be evaluated: it does not like colours"])
    assert "unknown" not in (fine.verdict, other.verdict)
    assert fine.faithful["photo_percentile"] is not None


def test_an_objective_for_pictures_of_another_size_is_unknown(tmp_path: Path, photos: Path) -> None:
    def corner(activations: Any, images: Tensor) -> Tensor:
        return activations["conv1"][:, 0, 11, 14]

    network = network_of()
    targets: list[Any] = ["logits:0", Function(corner, layers=["conv1"], name="corner")]
    run = rendered(tmp_path / "run", network, targets, size=(24, 30), batch_size=3)
    inputs = inputs_of(network, ["logits:0"], photos)
    inputs.targets = {target.id: target for target in resolve_targets(targets, network, (24, 30))}
    fine, unknown = report_run(run, inputs)
    assert fine.verdict != "unknown"
    assert unknown.verdict == "unknown"
    assert unknown.reasons[0].startswith("its objective cannot be evaluated for photos: ")


def test_targets_that_are_not_known_say_why(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    inputs = inputs_of(network, "logits:1-2+conv1:3", photos, reasons={run.records()[0].id: "it has no text"})
    found = report_run(run, inputs)
    assert (found[0].verdict, found[0].reasons) == ("unknown", ["it has no text"])
    assert all(evidence.verdict != "unknown" for evidence in found[1:])


@pytest.mark.parametrize(
    ("options", "targets"),
    [
        ({"size": (24, 30)}, "logits:1+conv1:2"),
        ({"parameterization": MACO(opacity=True)}, "logits:1+conv1:2"),
        ({}, "logits:1 x3+conv1:2@1,1+sum(conv1:1 - conv1:2)+probability:2+conv2"),
    ],
    ids=["larger pictures", "an opacity", "targets of every kind"],
)
def test_runs_of_every_kind(options: dict[str, Any], targets: str, tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, targets, **options)
    for evidence in report_run(run, inputs_of(network, targets, photos)):
        assert evidence.verdict != "unknown", evidence
        assert bool(evidence.path) == ("@" not in evidence.target)
        assert evidence.examples


def test_grey_pictures_and_latents(tmp_path: Path, photos: Path) -> None:
    grey = one_channel()
    run = rendered(tmp_path / "grey", grey, "logits:1+0:2")
    for evidence in report_run(run, inputs_of(grey, "logits:1+0:2", photos)):
        assert evidence.verdict != "unknown", evidence
    network, file = network_of(), tmp_path / "sae.safetensors"
    save_file(autoencoder(8, 10), file, {"architecture": "relu", "layer": "conv1"})
    run = rendered(tmp_path / "latents", network, f"sae:{file}:0-3")
    for evidence in report_run(run, inputs_of(network, f"sae:{file}:0-3", photos)):
        assert evidence.verdict != "unknown", evidence
        assert "photo_percentile" in evidence.faithful


def test_a_network_of_four_channels_gives_a_reason(tmp_path: Path, photos: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(4, 5, 3, padding=1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    network = network_of(module, mean=(0.5,) * 4, std=(0.2,) * 4)
    run = rendered(tmp_path / "run", network, "logits:1")
    (found,) = report_run(run, inputs_of(network, "logits:1", photos))
    assert found.verdict == "unknown"
    assert "all 4 channels" in found.reasons[0]


def test_two_workers_make_what_one_makes(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    targets = "logits:0-4+conv1:0-4"
    run = rendered(tmp_path / "one", network, targets)
    report_run(run, inputs_of(network, targets, photos))
    alone = run.evidence.read_bytes()
    for file in (*run.path.glob("jobs/*/evidence.jsonl"), run.evidence):
        file.unlink()

    def work(network: VisionNetwork) -> None:
        found.append(report_run(RunFolder(run.path), inputs_of(network, targets, photos)))

    found: list[Any] = []
    threads = [threading.Thread(target=work, args=[network_of()]) for _ in range(2)]
    held = run.claim_evidence(run.job_folders()[0])
    with held:  # by a worker that is slow
        for thread in threads:
            thread.start()
        threads[0].join(1.0)
        assert not run.evidence.exists()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2
    assert run.evidence.read_bytes() == alone


def test_without_a_manifest_there_is_no_report(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    run.manifest.unlink()
    with pytest.raises(RunFolderError, match="holds no manifest"):
        report_run(run, inputs_of(network, TARGETS, photos))


def test_a_job_whose_records_are_damaged_is_named_and_left_out(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    run.job_folders()[0].done_file.write_text("damaged")
    with pytest.warns(UserWarning, match="have no evidence"):
        found = report_run(run, inputs_of(network, TARGETS, photos))
    assert len(found) == 2


def test_a_folder_without_photos_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"none")
    with pytest.raises(UsageError, match="none of the 1 files"):
        report_run(run, inputs_of(network, TARGETS, tmp_path / "photos"))
    assert not run.evidence.exists()


def test_a_gallery_that_was_not_written_is_written_by_the_next_call(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    report_run(run, inputs_of(network, TARGETS, photos))
    run.gallery.unlink()
    report_run(run, inputs_of(network, TARGETS, photos))
    assert run.gallery.is_file()


def shown(run: RunFolder) -> list[bool]:
    """Of each picture, whether the gallery shows evidence beside it."""
    text = run.gallery.read_text().partition('id="data">')[2].partition("</script>")[0]
    return [row is not None for row in json.loads(text).get("evidence", {"rows": [None] * 4})["rows"]]


def test_evidence_is_not_shown_with_a_picture_that_was_rendered_since(tmp_path: Path, photos: Path) -> None:
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    report_run(run, inputs_of(network, TARGETS, photos))
    assert shown(run) == [True] * 4
    assert len(list(run.path.glob("events.*.evidence"))) == 1
    for name in ("images", "jobs", "manifest.jsonl"):  # another render's: of another seed, in the same folder
        if (path := run.path / name).is_dir():
            shutil.rmtree(path)
    other = rendered(tmp_path / "other", network, TARGETS, seed=1)
    for name in ("images", "jobs", "manifest.jsonl"):
        if (path := other.path / name).is_dir():
            shutil.copytree(path, run.path / name)
        else:
            shutil.copy(path, run.path / name)
    with pytest.warns(UserWarning, match="is out of date: 4 of 4 pictures"):
        write_report(run, run.records)
    assert shown(run) == [False] * 4
    assert not list(run.path.glob("events.*.evidence"))
    report_run(run, inputs_of(network, TARGETS, photos))
    assert shown(run) == [True] * 4


def test_evidence_about_a_picture_that_was_lost_and_rendered_again(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file has the same bytes again, so that what is known of it stays, however long the rendering took."""
    network = network_of()
    run = rendered(tmp_path / "run", network, TARGETS)
    report_run(run, inputs_of(network, TARGETS, photos))
    before = {path.name: path.read_bytes() for path in run.images.iterdir()}
    evidence, took = run.evidence.read_bytes(), [record.seconds for record in run.records()]
    shutil.rmtree(run.images)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: 3 * clock())
    with pytest.warns(UserWarning, match="the job is rendered again"):
        rendered(run.path, network, TARGETS)
    assert all(now.seconds != then for now, then in zip(run.records(), took, strict=True))
    assert {path.name: path.read_bytes() for path in run.images.iterdir()} == before
    assert shown(run) == [True] * 4
    report_run(run, inputs_of(network, TARGETS, photos))
    assert run.evidence.read_bytes() == evidence
