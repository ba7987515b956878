"""The report of a run: each of its files stands or falls alone."""

import os
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_fv.report import write_report
from lightning_fv.report.run import FILM_JOBS
from lightning_fv.runs.files import WriteErrors
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import write_picture
from lightning_fv.runs.record import Record, read_manifest
from tests.report.test_evidence import add_evidence, evidence_of
from tests.report.test_gallery import Page

pytestmark = pytest.mark.filterwarnings("ignore:.*cannot be written")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create("seed: 0\n")
    run.images.mkdir()
    return run


def records_of(run: RunFolder, *targets: str, steps: int = 5) -> list[Record]:
    """Records of targets in this order, with their pictures."""
    records = []
    for target in targets:
        file = run.picture(target)
        record = Record(target, target, "tiny", "done", 1.0, run.relative(file), [6, 4], steps, 0, 0.1)
        write_picture(file, torch.full((3, 6, 4), 0.5), record, {})
        records.append(record)
    return records


def frames(run: RunFolder, job: str, level: int = 200) -> None:
    """A black frame at the start of a job, and a grey one after 4 steps."""
    folder = run.job(job)
    folder.frames.mkdir(parents=True)
    for step in (0, 4):
        Image.new("RGB", (40, 20), (step * level // 4,) * 3).save(folder.frame(step))


def inodes(run: RunFolder) -> dict[str, int]:
    """A file that is written again is another one."""
    return {file.name: file.stat().st_ino for file in (run.manifest, run.sheet, run.gallery)}


def targets_on(page: Path) -> list[str]:
    return [row["target"] for row in Page(page).rows()]


def test_files_are_made_in_the_order_of_the_records(run: RunFolder) -> None:
    records = records_of(run, "b", "c", "a")
    write_report(run, lambda: records)
    assert read_manifest(run.manifest) == records
    assert targets_on(run.gallery) == ["b", "c", "a"]
    assert run.sheet.is_file()
    assert not run.film.exists()  # there are no frames


def test_the_film_shows_a_few_jobs_in_order(run: RunFolder) -> None:
    levels = {f"job {number}": 250 - 40 * number for number in range(FILM_JOBS + 2)}
    for job, level in levels.items():
        frames(run, job, level)
    write_report(run, lambda: records_of(run, "a"), [run.job(job) for job in levels])
    with Image.open(run.film) as film:
        assert film.n_frames == 2  # type: ignore[attr-defined]
        assert film.height / film.width == FILM_JOBS * 20 / 40
        film.seek(1)
        middle = film.width // 2
        shown = [
            film.convert("L").getpixel((middle, (2 * n + 1) * film.height // (2 * FILM_JOBS))) for n in range(FILM_JOBS)
        ]
    assert shown == pytest.approx(list(levels.values())[:FILM_JOBS], abs=5)


def test_what_was_made_from_the_same_records_is_left_alone(run: RunFolder) -> None:
    """Each of several workers that find all jobs done may write it."""
    write_report(run, lambda: records_of(run, "a"))
    before = inodes(run)
    write_report(run, lambda: records_of(run, "a"))
    assert inodes(run) == before
    run.sheet.unlink()
    write_report(run, lambda: records_of(run, "a"))
    assert run.sheet.is_file()
    write_report(run, lambda: records_of(run, "a", steps=6))
    assert read_manifest(run.manifest)[0].steps == 6


@pytest.mark.parametrize("part", ["sheet", "film", "gallery"])
def test_one_part_that_fails_does_not_take_the_others_with_it(run: RunFolder, part: str) -> None:
    frames(run, "a")
    blocked: Path = getattr(run, part)
    blocked.mkdir()
    errors = WriteErrors()
    write_report(run, lambda: records_of(run, "a"), [run.job("a")], errors)
    assert list(errors.reasons) == [blocked.name]
    others = {run.manifest, run.sheet, run.film, run.gallery} - {blocked}
    assert all(file.is_file() for file in others)
    blocked.rmdir()  # once there is room it is made, although the records are the same
    write_report(run, lambda: records_of(run, "a"), [run.job("a")], WriteErrors())
    assert blocked.is_file()


def test_evidence_makes_the_report_anew(run: RunFolder) -> None:
    write_report(run, lambda: records_of(run, "a", "b"))
    before = inodes(run)
    assert not list(run.path.glob("events.*"))
    for verdict in ("trust", "distrust"):
        add_evidence(run.path, evidence_of("a", verdict=verdict))
        write_report(run, lambda: records_of(run, "a", "b"))
        after = inodes(run)
        assert after != before
        told = Page(run.gallery).data["evidence"]
        assert [row and told["verdicts"][row[0]][0] for row in told["rows"]] == [verdict, None]
        (events,) = run.path.glob("events.*")
        write_report(run, lambda: records_of(run, "a", "b"))
        assert inodes(run) == after
        assert list(run.path.glob("events.*")) == [events]
        before = after


def test_the_film_stays_where_only_evidence_is_new(run: RunFolder) -> None:
    frames(run, "a")
    write_report(run, lambda: records_of(run, "a"), [run.job("a")])
    film = run.film.stat().st_mtime_ns
    add_evidence(run.path, evidence_of("a"))
    write_report(run, lambda: records_of(run, "a"))
    assert "evidence" in Page(run.gallery).data
    assert run.film.stat().st_mtime_ns == film
    after = inodes(run)
    write_report(run, lambda: records_of(run, "a"), [run.job("a")])  # as a resumed run does
    assert inodes(run) == after


def test_a_report_is_made_without_damaged_evidence(run: RunFolder) -> None:
    run.evidence.write_text("{")
    errors = WriteErrors()
    with pytest.warns(UserWarning, match="evidence.jsonl is damaged") as told:
        write_report(run, lambda: records_of(run, "a"), errors=errors)
    assert len(told) == 1
    assert not errors
    assert targets_on(run.gallery) == ["a"]
    assert "evidence" not in Page(run.gallery).data


def test_there_is_no_page_of_an_older_manifest(run: RunFolder) -> None:
    write_report(run, lambda: records_of(run, "a"))
    page = run.gallery.read_bytes()
    run.manifest.unlink()
    run.manifest.mkdir()
    errors = WriteErrors()
    write_report(run, lambda: records_of(run, "a", "b"), errors=errors)
    assert list(errors.reasons) == [run.manifest.name]
    assert run.gallery.read_bytes() == page


def test_a_damaged_frame_costs_nothing_else(run: RunFolder) -> None:
    frames(run, "a")
    os.truncate(run.job("a").frame(4), 30)
    errors = WriteErrors()
    with pytest.warns(UserWarning, match="the film is made without it"):
        write_report(run, lambda: records_of(run, "a"), [run.job("a")], errors)
    assert not errors
    assert run.film.is_file()
    assert targets_on(run.gallery) == ["a"]


def test_processes_take_turns(run: RunFolder) -> None:
    records = records_of(run, "a")
    with run.report_lock():
        other = threading.Thread(target=write_report, args=(run, lambda: records))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert not run.manifest.exists()
    other.join(60)
    assert read_manifest(run.manifest) == records
