"""The command line, in process where that is the same and as a real process where it is not."""

import json
import signal
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lightning_fv.commands.main import main
from lightning_fv.runs.picture import CHUNK
from lightning_fv.runs.record import read_manifest
from tests.processes import QUICK, finish, kill, pictures, press_ctrl_c, run_python, start, wait_for


def fit(folder: Path, *args: str) -> int:
    return main(["--out", str(folder), *QUICK, *args])


def test_run_folder_holds_what_is_promised(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert (
        fit(run, "--targets", "logits:pizza+layer2:3+layer2:0@2,3+layer1+probability:3", "--trainer.max_steps", "4")
        == 0
    )
    assert {p.name for p in run.iterdir()} == {
        ".ranks", "config.yaml", "gallery.html", "images", "jobs", "manifest.jsonl", "progress.webp", "sheet.png",
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


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--targets", "logits:piza"], "did you mean pizza (11)"),
        (["--targets", "layr4:3"], "did you mean layer4"),
        (["--targets", "layer4:256"], "layer4 has units 0 to 255"),
        (["--targets", "layer4:-1"], "layer4 has units 0 to 255"),
        (["--targets", "layer4:3@4,0"], "rows 0 to 3 and columns 0 to 3"),
        (["--targets", "layer4:"], "cannot read the target"),
        (["--network", "demmo"], "did you mean demo"),
        (["--config", "study_upscalin"], "did you mean study_upscaling"),
        (["--trainer.max_steps", "0"], "trainer.max_steps"),
        (["--trainer.max_epochs", "3"], "trainer.max_steps alone"),
        (["--trainer.precision", "16-true"], "use 32-true or bf16-mixed"),
        (["--trainer.strategy", "fsdp"], "give independent"),
        (["--batch-size", "0"], "at least 1"),
        (["--batch-size", "2.5"], "batch_size: expected int or 'auto', got 2.5"),
        (["--model.size", "0"], "less than one pixel"),
        (["--model.nope", "3"], "--model.nope"),
        (["--model.parameterization", "Pixl"], "no class 'Pixl'"),
        (["--model.transforms", "[{class_path: RandomWarp, init_args: {pad: -1}}]"], "pad=-1.0"),
        (["--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=0"], "every >= 1"),
        (["--resume"], "it holds no config.yaml"),
        (["--trainer.accelerator", "cuda"], "the Trainer cannot be made"),
        (["--trainer.default_root_dir", "x"], "given by --out"),
        (["--checkpoint-seconds", "-1"], "above 0 s"),
        (["--seed_everything", "5"], "give --seed"),
        (["--model.size", "48.0"], "write 48 for pixels"),
        (["--model.size", "100000000"], "more than 16384 px"),
    ],
)
def test_bad_usage_is_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], told: str
) -> None:
    run = tmp_path / "run"
    assert fit(run, *args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    assert told in line
    assert not run.exists()


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
    arguments = [*QUICK, "--targets", "logits:3", "--trainer.max_steps", "2"]
    codes, outputs = zip(*map(finish, [start(*arguments, cwd=tmp_path) for _ in range(2)]), strict=True)
    assert codes == (0, 0), outputs
    folders = sorted((tmp_path / "lightning_logs").iterdir())
    assert [folder.name for folder in folders] == ["version_0", "version_1"]
    for folder in folders:
        assert len(read_manifest(folder / "manifest.jsonl")) == 1
        assert len(list((folder / "jobs").iterdir())) == 1


def test_a_class_by_name_and_by_index_is_one_target(tmp_path: Path) -> None:
    assert fit(tmp_path / "run", "--targets", "logits:pizza+logits:11+logits:PIZZA", "--trainer.max_steps", "1") == 0
    assert len(read_manifest(tmp_path / "run" / "manifest.jsonl")) == 1


def test_targets_as_a_yaml_list_and_jobs_by_batch_size(tmp_path: Path) -> None:
    config = tmp_path / "targets.yaml"
    config.write_text("targets: ['logits:0-2', layer3:7]\nbatch_size: 3\n")
    assert fit(tmp_path / "run", "--config", str(config), "--trainer.max_steps", "1") == 0
    records = read_manifest(tmp_path / "run" / "manifest.jsonl")
    assert [record.target for record in records] == [
        "logits:goldfish",
        "logits:jellyfish",
        "logits:ladybug",
        "layer3:7",
    ]
    assert len(list((tmp_path / "run" / "jobs").iterdir())) == 2


def test_resume_of_a_finished_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert fit(run, "--targets", "logits:1", "--trainer.max_steps", "2") == 0
    before = (run / "images" / "logits-0001-jellyfish.png").read_bytes()
    assert main(["--out", str(run), "--resume", *QUICK]) == 0
    assert "the run is finished" in capsys.readouterr().out
    assert (run / "images" / "logits-0001-jellyfish.png").read_bytes() == before


def test_resume_with_other_settings_shows_the_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert fit(run, "--targets", "logits:1", "--trainer.max_steps", "2") == 0
    assert main(["--out", str(run), "--resume", *QUICK, "--seed", "5", "--model.optimizer.lr", "0.2"]) == 2
    told = capsys.readouterr().err
    assert "seed: 0 in the run, 5 now" in told
    assert "model.optimizer.init_args.lr: 0.1 in the run, 0.2 now" in told


def test_resume_of_what_another_version_has_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert fit(run, "--targets", "logits:1", "--trainer.max_steps", "2") == 0
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("redirect_steps:", "redirected_steps:"))
    capsys.readouterr()
    assert main(["--out", str(run), "--resume", *QUICK]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{config} does not fit this version of lightning_fv" in line
    assert "redirected_steps" in line


def test_print_config_can_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print_config"]) == 0
    config = tmp_path / "all.yaml"
    config.write_text(capsys.readouterr().out)
    # The file says `out: null` and `max_steps: 128`; options win, also those that stand before it.
    assert fit(tmp_path / "run", "--trainer.max_steps", "1", "--config", str(config), "--targets", "logits:0") == 0
    assert read_manifest(tmp_path / "run" / "manifest.jsonl")[0].steps == 1


def test_help_loads_no_network() -> None:
    code = (
        "import sys\nfrom lightning_fv.commands.main import main\ncode = main(['--help'])\n"
        "assert code == 0, code\n"
        "bad = [m for m in ('kornia', 'lightning_fv.networks.demo', 'tensorboard') if m in sys.modules]\n"
        "assert not bad, bad"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.error_output
    assert "--targets" in done.output


GROWING = [
    "--targets", "logits:pizza+layer3:5", "--model.size", "24", "--model.stage_steps", "10", "--trainer.max_steps", "400",
    "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=56", "--trainer.callbacks.every=40",
    "--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=30",
]  # fmt: skip


@pytest.mark.parametrize("parameterization", ["Fourier", "Pixel"])
def test_killed_in_mid_growth_and_resumed_is_bitwise_the_same(tmp_path: Path, parameterization: str) -> None:
    args = [*QUICK, *GROWING, "--model.parameterization", parameterization]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["--out", str(whole), *args]) == 0
    process = start("--out", str(killed), *args, "--checkpoint_seconds", "0.2")
    wait_for(lambda: len(list(killed.glob("jobs/*/checkpoints/step=*.ckpt"))) >= 2, process)
    kill(process)
    assert not (killed / "manifest.jsonl").exists()
    assert not list(killed.glob("images/*.png"))
    last = max(int(f.stem[5:]) for f in killed.glob("jobs/*/checkpoints/step=*.ckpt"))
    assert 0 < last < 400
    code, output = finish(start("--out", str(killed), "--resume"))
    assert code == 0, output
    assert pictures(killed) == pictures(whole)
    assert len(pictures(whole)) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_partial_pictures_and_a_checkpoint(tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *QUICK, *GROWING, "--trainer.max_steps", "100000")
    wait_for(lambda: list(run.glob("jobs/*/frames/0000002*.jpg")), process)
    process.send_signal(number)
    ended, output = finish(process, seconds=60)
    assert ended == code, output
    records = read_manifest(run / "manifest.jsonl")
    assert [record.status for record in records] == ["partial", "partial"]
    assert all((run / str(record.image)).is_file() for record in records)
    assert {Path(str(record.image)).parent.name for record in records} == {"partial"}
    assert records[0].steps in [int(f.stem[5:]) for f in run.glob("jobs/*/checkpoints/step=*.ckpt")]
    assert not list(run.glob("**/*.partial"))


def test_ctrl_c_twice_ends_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *QUICK, "--trainer.max_steps", "100000", "--model.size", "900")
    wait_for(lambda: list(run.glob("jobs/*/frames/*.jpg")), process)
    press_ctrl_c(process)
    time.sleep(0.05)
    press_ctrl_c(process)
    begin = time.monotonic()
    code, output = finish(process, seconds=60)
    assert code == 130, output
    assert time.monotonic() - begin < 10


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
    assert "the run is finished" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"- a\n- b\n"])
def test_resume_of_damaged_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    assert main(["--out", str(tmp_path), "--resume"]) == 2
    assert "config.yaml is damaged" in capsys.readouterr().err
