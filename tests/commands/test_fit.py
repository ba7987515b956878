"""``lightning-fv fit``, in process where that is the same and as a real process where it is not."""

import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lightning_fv.commands.main import main
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import CHUNK
from lightning_fv.runs.record import read_manifest
from tests.processes import finish, pictures, start, wait_for
from tests.trust.runs import write_photos

QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


def fit(out: Path, *args: str) -> int:
    return main(["--out", str(out), *QUICK, *args])


def test_run_folder_holds_what_is_promised(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert (
        fit(run, "--targets", "logits:pizza+layer2:3+layer2:0@2,3+layer1+probability:3", "--trainer.max_steps", "4")
        == 0
    )
    assert {p.name for p in run.iterdir()} == {
        ".run", "config.yaml", "gallery.html", "images", "jobs", "manifest.jsonl", "progress.webp", "sheet.png",
    }  # fmt: skip
    lines = [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines()]
    assert [line["target"] for line in lines] == [
        "logits:pizza",
        "layer2:3",
        "layer2:0@2,3",
        "layer1",
        "probability:monarch",
    ]
    for line in lines:
        assert {
            "id", "target", "network", "status", "score", "image", "size", "steps", "seed", "seconds",
        } <= line.keys()  # fmt: skip
        assert line["status"] == "done"
        assert line["size"] == [64, 64]
        with Image.open(run / line["image"]) as picture:
            assert picture.size == (64, 64)
            chunk = json.loads(picture.text[CHUNK])  # type: ignore[attr-defined]
        assert chunk["record"]["target"] == line["target"]
        assert chunk["recipe"]["optimizer"]["lr"] == 0.1
    (job,) = (run / "jobs").iterdir()
    assert (job / "hparams.yaml").is_file()
    assert len(list(job.glob("events.out.tfevents.*"))) == 2
    with Image.open(run / "progress.webp") as film:
        assert film.n_frames > 1  # type: ignore[attr-defined]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 4


def test_output_folder_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert fit(file) == 2
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    assert fit(full) == 2
    assert "is not empty" in capsys.readouterr().err
    assert file.read_text() == (full / "thesis.txt").read_text() == "mine"


def test_two_runs_started_together_never_share_a_folder(tmp_path: Path) -> None:
    words = [*QUICK, "--targets", "logits:3", "--trainer.max_steps", "2"]
    results = [finish(process) for process in [start(*words, cwd=tmp_path) for _ in range(2)]]
    assert [code for code, _ in results] == [0, 0], results
    folders = sorted((tmp_path / "lightning_logs").iterdir())
    assert [folder.name for folder in folders] == ["version_0", "version_1"]
    for folder in folders:
        assert len(read_manifest(folder / "manifest.jsonl")) == 1
        assert len(list((folder / "jobs").iterdir())) == 1


def test_a_class_by_name_and_by_index_is_one_target(tmp_path: Path) -> None:
    assert fit(tmp_path / "run", "--targets", "logits:pizza+logits:11+logits:PIZZA", "--trainer.max_steps", "1") == 0
    assert len(read_manifest(tmp_path / "run" / "manifest.jsonl")) == 1


def test_resume_of_a_finished_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert fit(run, "--targets", "logits:1", "--trainer.max_steps", "2") == 0
    before = (run / "images" / "logits-0001-jellyfish.png").read_bytes()
    assert main(["--out", str(run), "--resume", *QUICK]) == 0
    assert "is finished; nothing is left to do" in capsys.readouterr().out
    assert (run / "images" / "logits-0001-jellyfish.png").read_bytes() == before


def test_a_run_that_is_joined_tells_what_was_done_and_who_is_at_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three jobs: one is done, one is being rendered by another, one is left."""
    words = ["--targets", "logits:1-3", "--batch-size", "1", "--trainer.max_steps", "2"]
    assert fit(tmp_path / "run", *words) == 0
    assert "3 of 3 targets done in" in capsys.readouterr().out
    run = RunFolder(tmp_path / "run")
    _, second, third = sorted(run.job_folders(), key=lambda job: read_manifest(job.done_file)[0].id)
    for job in (second, third):
        job.done_file.unlink()
    with (run.path / ".run" / f"{second.path.name}.lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(1, fcntl.flock, (other, fcntl.LOCK_UN)).start()
        assert main(["--out", str(run), "--resume", *QUICK]) == 0
    told = capsys.readouterr().out
    assert told.count("joined this run of 3 jobs, on which another process is working") == 1
    assert "3 of 3 targets done (1 was already) in" in told


def test_an_untrained_network_is_the_same_in_every_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run on it is killed and resumed, reported on, and one of its pictures is made again."""
    words = [
        *QUICK, "--network", "torchvision/resnet18", "--no-weights", "--targets", "logits:0-1+layer2:2",
        "--model.size", "40", "--batch-size", "1", "--trainer.max_steps", "20",
    ]  # fmt: skip
    whole, killed, again = tmp_path / "whole", tmp_path / "killed", tmp_path / "again"
    assert main(["--out", str(whole), *words]) == 0
    process = start("--out", str(killed), *words)
    wait_for(lambda: len(list(killed.glob("images/*.png"))) >= 1, process)
    process.kill()
    finish(process)
    assert main(["--out", str(killed), "--resume"]) == 0
    assert pictures(killed) == pictures(whole)
    told = capsys.readouterr().out.splitlines()
    assert "untrained      torchvision/resnet18 has random weights (--no-weights)" in told
    assert {record.network for record in read_manifest(whole / "manifest.jsonl")} == {
        "torchvision/resnet18 (untrained)"
    }
    assert "torchvision/resnet18 (untrained)" in (whole / "gallery.html").read_text()
    photos = write_photos(tmp_path / "photos", 8)
    assert main(["report", str(whole), "--photos", str(photos)]) == 0
    picture = next(whole.glob("images/*.png"))
    assert main(["--from", str(picture), "--out", str(again), *QUICK]) == 0
    assert pictures(again) == {picture.name: pictures(whole)[picture.name]}


GROWING = [
    "--targets", "logits:pizza+layer3:5", "--model.size", "24", "--model.stage_steps", "10", "--trainer.max_steps", "200",
    "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=56", "--trainer.callbacks.every=20",
    "--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=15",
]  # fmt: skip


@pytest.mark.parametrize("parameterization", ["Fourier", pytest.param("Pixel", marks=pytest.mark.slow)])
def test_killed_in_mid_growth_and_resumed_is_bitwise_the_same(tmp_path: Path, parameterization: str) -> None:
    args = [*QUICK, *GROWING, "--model.parameterization", parameterization]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["--out", str(whole), *args]) == 0
    process = start("--out", str(killed), *args, "--checkpoint_seconds", "0.1")
    wait_for(lambda: len(list(killed.glob("jobs/*/checkpoints/step=*.ckpt"))) >= 2, process)
    process.kill()
    finish(process)
    assert not (killed / "manifest.jsonl").exists()
    assert not list(killed.glob("images/*.png"))
    last = max(int(f.stem[5:]) for f in killed.glob("jobs/*/checkpoints/step=*.ckpt"))
    assert 0 < last < 200
    code, told = finish(start("--out", str(killed), "--resume"))
    assert code == 0, told
    assert pictures(killed) == pictures(whole)
    assert len(pictures(whole)) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_partial_pictures_and_a_checkpoint(tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *QUICK, *GROWING, "--trainer.max_steps", "100000")
    wait_for(lambda: list(run.glob("jobs/*/frames/0000002*.jpg")), process)
    process.send_signal(number)
    assert process.wait(60) == code
    records = read_manifest(run / "manifest.jsonl")
    assert [record.status for record in records] == ["partial", "partial"]
    assert all((run / str(record.image)).is_file() for record in records)
    assert {Path(str(record.image)).parent.name for record in records} == {"partial"}
    assert records[0].steps in [int(f.stem[5:]) for f in run.glob("jobs/*/checkpoints/step=*.ckpt")]
    assert not list(run.glob("**/*.partial"))
    assert f"unfinished     {run / 'partial'}\n" in process.output
    assert "pictures  " not in process.output  # no images/ was made


def test_finished_and_unfinished_pictures_are_each_said_where_they_are(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--targets", "logits:0-2", "--batch-size", "1", "--model.size", "24", "--model.stage_steps", "10"]
    process = start("--out", str(run), *QUICK, *words, "--trainer.max_steps", "400")
    wait_for(lambda: len(list(run.glob("jobs/*/frames/00000010.jpg"))) == 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert [record.status for record in read_manifest(run / "manifest.jsonl")] == ["done", "partial", "pending"]
    assert f"\npictures       {run / 'images'}\nunfinished     {run / 'partial'}\n" in process.output


def test_ctrl_c_twice_ends_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *QUICK, "--trainer.max_steps", "100000", "--model.size", "900")
    wait_for(lambda: list(run.glob("jobs/*/frames/*.jpg")), process)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    begin = time.monotonic()
    assert process.wait(60) == 130
    assert time.monotonic() - begin < 10


def test_a_unit_that_is_dead_after_few_steps_may_need_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--targets", "sum(layer4:12 - 0.3*layer4:40)", "--trainer.max_steps", "4"]
    assert main([*args, "--out", str(tmp_path / "run"), *QUICK]) == 1
    assert "more may help (--trainer.max_steps 128)" in capsys.readouterr().out


def test_jobs_keep_their_own_files_without_a_logger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    args = ["--targets", "logits:0-4", "--batch-size", "2", "--trainer.max_steps", "2", "--trainer.logger", "false"]
    assert fit(run, *args) == 0
    assert (run / "progress.webp").is_file()
    assert len(list(run.glob("jobs/*/done.jsonl"))) == 3
    (run / "images" / "logits-0003-monarch.png").unlink()
    capsys.readouterr()
    assert main(["--out", str(run), "--resume", *QUICK]) == 0  # what is gone is made again
    assert (run / "images" / "logits-0003-monarch.png").is_file()
    assert main(["--out", str(run), "--resume", *QUICK]) == 0
    assert "is finished; nothing is left to do" in capsys.readouterr().out


def test_the_same_command_again_goes_on_with_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = ["--targets", "logits:0-2", "--batch-size", "1", "--trainer.max_steps", "2"]
    assert fit(run, *words) == 0
    kept = {file: file.stat().st_mtime_ns for file in run.glob("images/*.png")}
    lost = run / "images" / "logits-0001-jellyfish.png"
    lost.unlink()
    capsys.readouterr()
    assert fit(run, *words) == 0
    assert "is finished; nothing is left to do" not in capsys.readouterr().out
    assert lost.is_file()
    assert all(file.stat().st_mtime_ns == when for file, when in kept.items() if file != lost)
    assert fit(run, *words) == 0
    assert "is finished; nothing is left to do" in capsys.readouterr().out
    assert fit(run, *words, "--seed", "1") == 2
    assert "seed: 0 in the run, 1 now" in capsys.readouterr().err


def test_a_job_that_fails_is_told_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fails.py").write_text(
        "import lightning.pytorch as pl\n\nclass Fails(pl.Callback):\n"
        "    def on_train_batch_end(self, trainer, pl_module, *args):\n"
        "        if 'logits:jellyfish' in [target.text for target in pl_module.targets]:\n"
        "            raise ValueError('no jellyfish today')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    words = ["--targets", "logits:0-2", "--batch-size", "1", "--trainer.max_steps", "2"]
    assert fit(run, *words, "--trainer.callbacks+=fails.Fails") == 1
    told = capsys.readouterr()
    assert "2 of 3 targets done, 1 failed in" in told.out
    assert "failed         logits:jellyfish" in told.out
    assert f"continue       lightning-fv --resume --out {run}" in told.out
    (line,) = [line for line in told.err.splitlines() if "failed: " in line]
    assert line.startswith("lightning-fv: warning: job ")
    assert "(logits:jellyfish) failed: ValueError: no jellyfish today; traceback: " in line
    assert "Traceback" not in told.err
    records = {record.target: record for record in read_manifest(run / "manifest.jsonl")}
    assert [record.status for record in records.values()] == ["done", "failed", "done"]
    assert records["logits:jellyfish"].error == "ValueError: no jellyfish today"
