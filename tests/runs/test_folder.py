"""The run folder: what is in it, and when it says what."""

import os
import threading
from pathlib import Path

import pytest
import torch

from lightning_fv.errors import RunFolderError
from lightning_fv.networks import VisionNetwork
from lightning_fv.runs.digests import seal
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job import Job, make_jobs
from lightning_fv.runs.picture import write_picture
from lightning_fv.runs.record import Record, write_manifest
from lightning_fv.targets import resolve_targets
from tests.helpers import TinyNet


def jobs_of(targets: str = "logits:0-2", settings: str = "") -> list[Job]:
    network = VisionNetwork(TinyNet(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(37, 29))
    return make_jobs(resolve_targets(targets, network), 1, {"settings": settings})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create("seed: 0\n")
    run.register(jobs_of())
    return run


def record_of(job: Job, status: str = "done", image: str | None = None) -> Record:
    return Record(job.targets[0].id, "logits:0", "tiny", status, 1.0, image, [3, 4], 5, 0, 0.1)  # type: ignore[arg-type]


def test_a_job_without_its_mark_is_not_done(run: RunFolder) -> None:
    job = jobs_of()[0]
    folder = run.job(job)
    assert run.done(job) is None
    folder.begin()
    assert run.done(job) is None
    folder.done_file.write_text("")
    with pytest.warns(UserWarning, match="its records are not those of the job"):
        assert run.done(job) is None  # it holds nothing
    file = run.picture("x")
    record = record_of(job, image=run.relative(file))
    run.images.mkdir()
    record.sign(write_picture(file, torch.full((3, 3, 4), 0.5), record, {}))
    folder.mark_done([record])
    assert run.done(job) == [record]
    assert run.count_done() == 1
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:3], b"", whole[:50] + b"?" + whole[51:], None):  # cut, changed, missing
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        with pytest.warns(
            UserWarning, match=r"done.jsonl: images/x.png is missing or was changed; the job is rendered"
        ):
            assert run.done(job) is None
    file.write_bytes(whole)
    assert run.done(job) == [record]
    assert run.done(jobs_of()[1]) is None
    folder.done_file.write_text("{bad")
    with pytest.warns(UserWarning, match="done.jsonl: Expecting property name"):
        assert run.done(job) is None


def test_a_failure_is_known_until_the_job_is_taken_up_again(run: RunFolder) -> None:
    job = jobs_of()[0]
    assert run.failure(job) is None
    run.job(job).mark_unfinished([record_of(job, "partial")])
    assert run.failure(job) is None
    assert [record.status for record in run.unfinished(job) or []] == ["partial"]
    run.job(job).mark_unfinished([record_of(job, "failed")], "Traceback ...")
    first = run.failure(job)
    assert first is not None
    os.utime(run.job(job).unfinished_file, ns=(first + 1, first + 1))
    assert run.failure(job) == first + 1  # a new failure has another stamp
    run.job(job).begin()
    assert run.failure(job) is None
    assert run.unfinished(job) is None


def test_of_many_that_create_a_run_one_does(tmp_path: Path) -> None:
    run, created = RunFolder(tmp_path / "run"), []

    def create(number: int) -> None:
        try:
            run.create(f"seed: {number}\n")
            created.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (number,) = created
    assert run.config.read_text() == seal(f"seed: {number}\n")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for refuse in (
        RunFolder(tmp_path).check_new,
        RunFolder(tmp_path).create,
        RunFolder(tmp_path / "thesis.txt").create,
    ):
        with pytest.raises(RunFolderError, match="choose another folder"):
            refuse()
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_report_is_known_by_what_it_was_made_from(run: RunFolder) -> None:
    run.note_report("abc")
    assert run.reported() == ""  # its files are not there
    files = (run.manifest, run.sheet, run.gallery, run.film)
    for file in files:
        file.touch()
    run.note_report("abc")
    assert run.reported() == "abc"
    for file in files:
        file.rename(run.path / "away")
        assert run.reported() == ""
        file.write_text("other")
        assert run.reported() == ""
        (run.path / "away").rename(file)
        assert run.reported() == "abc"
    run.note_report("")
    assert run.reported() == ""


def test_two_claims_of_a_job(run: RunFolder) -> None:
    one, other, _ = jobs_of()
    with run.claim(one) as first, run.claim(one) as second, run.claim(other) as third, run.claim(one, rank=1) as fourth:
        assert (first, second, third, fourth) == (True, False, True, True)


def test_manifests_of_jobs_are_read_back(run: RunFolder) -> None:
    job = jobs_of()[0]
    run.job(job).path.mkdir()
    write_manifest(run.job(job).unfinished_file, [record_of(jobs_of()[1], "partial")])
    assert run.unfinished(job) is None  # of another job
    write_manifest(run.job(job).unfinished_file, [record_of(job, "partial")])
    assert run.unfinished(job) == [record_of(job, "partial")]
    write_manifest(run.job(job).unfinished_file, [record_of(job, "done")])
    assert run.unfinished(job) is None  # what is done is in the other file
