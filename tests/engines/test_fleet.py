"""Several ranks in one run folder, as real processes: the same pictures whoever starts them and whatever befalls them."""

import functools
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from lightning_fv.commands.main import main
from lightning_fv.engines.fleet import RANKS, hold_slot, read_beat
from lightning_fv.runs.record import read_manifest
from tests import processes
from tests.engines.ray_cluster import on, two_nodes

SCRIPT = Path(__file__).parents[2] / "scripts" / "fit.py"
CPU = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
QUICK = [*CPU, "--targets", "logits:all", "--batch_size", "4", "--trainer.max_steps", "6"]
"""Six jobs."""
WHOLE = [
    *CPU, "--targets", "logits:all", "--batch_size", "4", "--trainer.max_steps", "48", "--model.size", "32",
    "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=64", "--trainer.callbacks.every=8",
    "--trainer.callbacks+=PeriodicBlur", "--trainer.callbacks.every=5",
]  # fmt: skip
"""Six jobs, with growth and blur."""
LONG = [
    *CPU,
    "--targets",
    "logits:0-7",
    "--batch_size",
    "4",
    "--trainer.max_steps",
    "100000",
    "--checkpoint_seconds",
    "0.3",
]
"""Two jobs without an end."""
SECONDS = 600  # a start takes ten seconds, on a busy machine a minute


def digest(run: Path) -> str:
    """One hash over the names and pixels of all pictures."""
    whole = hashlib.sha256()
    for file in sorted((run / "images").glob("*.png")):
        with Image.open(file) as picture:
            whole.update(file.name.encode() + picture.tobytes())
    return whole.hexdigest()


STARTED: list[subprocess.Popen[str]] = []


def start(*words: str, under: list[str] | None = None, **variables: str) -> subprocess.Popen[str]:
    """A process of the command line, under a launcher or with a launcher's variables."""
    process = subprocess.Popen(
        [sys.executable, *(under or []), str(SCRIPT), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **variables},
    )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """A test that fails must not leave renders without an end behind; the ranks that they started follow them."""
    yield
    while STARTED:
        STARTED.pop().kill()


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Exit code and output of each."""
    results = []
    for process in processes:
        output, _ = process.communicate(timeout=SECONDS)
        results.append((process.returncode, output))
    return results


wait_for = functools.partial(processes.wait_for, seconds=SECONDS)


def torchrun(ranks: int, *options: str) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", str(port), *options]


def slurm(rank: int, ranks: int = 2) -> dict[str, str]:
    """What srun sets for one task on each of two nodes."""
    return {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "fv", "SLURM_NTASKS": str(ranks), "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0", "SLURM_NODEID": str(rank),
    }  # fmt: skip


def process_of(run: Path, rank: int) -> int:
    """Process id of a rank, or 0."""
    lock = run / RANKS / f"{rank}.lock"
    words = lock.read_text().split() if lock.is_file() else []
    return int(words[1]) if len(words) > 1 else 0


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def checkpoints(run: Path) -> set[Path]:
    """Jobs that could go on."""
    return {file.parent for file in run.glob("jobs/*/checkpoints/step=*.ckpt")}


def last_step(checkpoints: Path) -> int:
    return max(int(file.stem.removeprefix("step=").partition("-")[0]) for file in checkpoints.glob("step=*.ckpt"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of one process."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert main(["--out", str(run), *QUICK]) == 0
    return digest(run)


WITNESS = """
import json, os
from pathlib import Path
import lightning.pytorch as pl, torch

class Witness(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        told = {
            "rank": trainer.strategy.rank, "ranks": trainer.strategy.ranks, "process": os.getpid(),
            "seen": [trainer.world_size, trainer.global_rank, trainer.is_global_zero, trainer.num_nodes],
            "group": torch.distributed.is_initialized(), "threads": torch.get_num_threads(),
            "omp": os.environ.get("OMP_NUM_THREADS"),
        }
        Path(os.environ["WITNESS"], Path(pl_module.job_folder).name).write_text(json.dumps(told))
"""


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Mapping[str, object]]]:
    """What a callback of one's own saw, one entry per job."""
    code, told = tmp_path / "code", tmp_path / "told"
    code.mkdir()
    told.mkdir()
    (code / "witness.py").write_text(WITNESS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(code)
    monkeypatch.setenv("WITNESS", str(told))
    return lambda: [json.loads(file.read_text()) for file in sorted(told.iterdir())]


def test_two_ranks_by_lightnings_own_launch(
    tmp_path: Path, alone: str, witness: Callable[[], list[Mapping[str, object]]]
) -> None:
    """As `--trainer.devices 2` alone: the strategy is chosen, the folder is the next version_N."""
    words = [word for word in QUICK if word not in ("--trainer.enable_progress_bar", "false")]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *words, "--trainer.devices", "2", "--trainer.callbacks+=witness.Witness"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    run = tmp_path / "lightning_logs" / "version_0"
    assert [p.name for p in run.parent.iterdir()] == ["version_0"]
    assert digest(run) == alone
    assert "24 of 24 targets done" in out
    assert "job 1 of 6" not in err
    assert "6/6 jobs" in err
    assert "pictures/s" in err
    assert "left, 2 ranks" in err
    assert "steps" not in err  # no bar of a single job
    told = witness()
    assert sorted(entry["rank"] for entry in told) == [0, 0, 0, 1, 1, 1]  # type: ignore[type-var]
    assert len({entry["process"] for entry in told}) == 2
    for entry in told:
        assert entry["ranks"] == 2
        assert entry["seen"] == [1, 0, True, 1]
        assert entry["group"] is False
        assert (entry["threads"], entry["omp"]) == (1, "1")
    assert len(list(run.glob("jobs/*/events.out.tfevents.*"))) == 12
    assert len(read_manifest(run / "manifest.jsonl")) == 24
    assert (run / "sheet.png").is_file()
    # Resumed by one process, and by more ranks: nothing is left to do.
    for other in (["--trainer.devices", "1"], ["--trainer.devices", "3"], ["--engine", "ray"]):
        assert main(["--out", str(run), "--resume", *other]) == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_one_digest_seven_ways(tmp_path: Path) -> None:
    """24 targets, with growth and blur: whoever renders them, the pixels are the same."""
    pytest.importorskip("ray")
    words = [*WHOLE, "--checkpoint_seconds", "0.1"]
    two, none_left = ["--trainer.devices", "2"], "24 of 24 targets done"
    runs = {name: tmp_path / name for name in ("alone", "launcher", "torchrun", "NODE_RANK", "SLURM", "Ray", "killed")}

    def out(name: str) -> list[str]:
        return ["--out", str(runs[name])]

    def whole(results: list[tuple[int, str]]) -> None:
        assert [code for code, _ in results] == [0] * len(results), results
        assert sum(told.count(none_left) for _, told in results) == 1

    whole(ended(start(*out("alone"), *words)))
    whole(ended(start(*out("launcher"), *words, *two)))
    whole(ended(start(*out("torchrun"), *words, under=torchrun(2))))
    by_hand = [*out("NODE_RANK"), *words, "--trainer.num_nodes", "2"]
    whole(ended(*[start(*by_hand, NODE_RANK=str(node)) for node in (1, 0)]))
    whole(ended(*[start(*out("SLURM"), *words, **slurm(node)) for node in (0, 1)]))
    with two_nodes() as cluster:
        whole(ended(start(*out("Ray"), *words, *on(cluster))))

    killed = runs["killed"]
    process = start(*out("killed"), *words, *two)
    wait_for(lambda: process_of(killed, 1) and (beat := read_beat(killed, 1)) is not None and beat.jobs >= 1, process)
    os.kill(process_of(killed, 1), signal.SIGKILL)
    ((code, told),) = ended(process)
    assert code == 1, told
    assert "rank 1 ended with signal 9 (SIGKILL)" in told
    assert "of 6 jobs are not done" in told
    whole(ended(start(*out("killed"), "--resume", "--trainer.devices", "1")))

    assert len(list(runs["alone"].glob("images/*.png"))) == 24
    digests = {name: digest(run) for name, run in runs.items()}
    assert len(set(digests.values())) == 1, digests
    print(*(f"{digest[:16]}  {name}" for name, digest in digests.items()), sep="\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rank_that_is_killed_costs_nothing_that_was_done(tmp_path: Path, alone: str) -> None:
    """Not a success, what is done is kept; one process goes on."""
    run = tmp_path / "run"
    process = start("--out", str(run), *QUICK, "--trainer.devices", "2", "--checkpoint_seconds", "0.05")
    wait_for(lambda: process_of(run, 1) and (beat := read_beat(run, 1)) is not None and beat.jobs >= 1, process)
    os.kill(process_of(run, 1), signal.SIGKILL)
    ((code, output),) = ended(process)
    done = {file: file.stat().st_mtime_ns for file in run.glob("jobs/*/done.jsonl")}
    if len(done) < 6:  # else it was quicker than the kill
        assert "jobs are not done" in output
    assert code == 1, output
    assert "rank 1 ended with signal 9 (SIGKILL)" in output
    assert len(done) >= 4
    assert main(["--out", str(run), "--resume", "--trainer.devices", "1"]) == 0
    assert digest(run) == alone
    assert {file: file.stat().st_mtime_ns for file in done} == done


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rank_that_is_killed_in_the_middle_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [*CPU, "--targets", "logits:0-7", "--batch_size", "4", "--trainer.max_steps", "600"]
    process = start("--out", str(run), *words, "--trainer.devices", "2", "--checkpoint_seconds", "0.2")
    wait_for(lambda: process_of(run, 1) and len(checkpoints(run)) == 2, process)
    os.kill(process_of(run, 1), signal.SIGKILL)
    ((code, output),) = ended(process)
    assert code == 1, output
    (job,) = [job for job in run.glob("jobs/*") if not (job / "done.jsonl").exists()]
    assert job.name in output
    statuses = [record.status for record in read_manifest(run / "manifest.jsonl")]
    assert statuses == ["done"] * 4 + ["partial"] * 4
    steps = [record.steps for record in read_manifest(run / "manifest.jsonl")]
    assert 0 < min(steps) < 600  # as far as the checkpoint of the one that was killed
    ((code, output),) = ended(start("--out", str(run), "--resume", "--trainer.devices", "1"))
    assert code == 0, output
    assert main(["--out", str(whole), *words]) == 0
    assert digest(run) == digest(whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_torchrun_starts_the_ranks_again_and_they_go_on(tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [*CPU, "--targets", "logits:0-7", "--batch_size", "4", "--trainer.max_steps", "600"]
    process = start("--out", str(run), *words, "--checkpoint_seconds", "0.2", under=torchrun(2, "--max-restarts", "1"))
    wait_for(lambda: process_of(run, 1) and len(checkpoints(run)) == 2, process)
    os.kill(process_of(run, 1), signal.SIGKILL)
    ((code, output),) = ended(process)
    assert code == 0, output
    assert main(["--out", str(whole), *words]) == 0
    assert digest(run) == digest(whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_more_ranks_than_jobs(tmp_path: Path) -> None:
    """Idle ranks end clean, every target is done once."""
    run = tmp_path / "run"
    words = [*CPU, "--targets", "logits:0-4", "--batch_size", "2", "--trainer.max_steps", "2"]
    ((code, output),) = ended(start("--out", str(run), *words, under=torchrun(4)))
    assert code == 0, output
    assert [record.status for record in read_manifest(run / "manifest.jsonl")] == ["done"] * 5
    assert len(list(run.glob("jobs/*"))) == 3
    # Ranks of our own that would have no job are not even started.
    ((code, output),) = ended(start("--out", str(tmp_path / "own"), *words, "--trainer.devices", "40"))
    assert code == 0, output
    assert {file.stem for file in (tmp_path / "own" / RANKS).glob("*.lock")} == {"0", "1", "2"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_first_stops_all_and_any_number_goes_on(tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, "--trainer.devices", "2")
    wait_for(lambda: process_of(run, 1) and len(checkpoints(run)) == 2, process)
    child = process_of(run, 1)
    process.send_signal(number)
    ((given, output),) = ended(process)
    assert given == code, output
    assert not alive(child)
    records = read_manifest(run / "manifest.jsonl")
    assert [record.status for record in records] == ["partial"] * 8
    assert all(record.steps > 0 and (run / str(record.image)).is_file() for record in records)
    last = {job: last_step(job) for job in checkpoints(run)}
    assert set(last.values()) == {record.steps for record in records}
    # With three ranks, of which one has nothing to do.
    process = start("--out", str(run), "--resume", "--trainer.devices", "3")
    wait_for(lambda: all(last_step(job) > step for job, step in last.items()), process)
    process.terminate()
    assert ended(process)[0][0] == 143


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_picture_that_was_lost_is_made_again_by_the_rank_whose_it_was(tmp_path: Path, alone: str) -> None:
    """The mark of its job still stands, and must not be taken for the rank's having nothing to do."""
    run = tmp_path / "run"
    assert main(["--out", str(run), *QUICK]) == 0
    lost = run / "images" / "logits-0004-king-penguin.png"
    lost.write_bytes(lost.read_bytes()[:100])
    ((code, output),) = ended(start("--out", str(run), "--resume", "--trainer.devices", "2"))
    assert code == 0, output
    assert digest(run) == alone


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_rank_says_how_many_pictures_a_job_has(tmp_path: Path, alone: str) -> None:
    """It may have measured a GPU; others, of whatever kind, take its number from the run's settings."""
    run = tmp_path / "run"
    words = [*CPU, "--targets", "logits:all", "--trainer.max_steps", "6", "--trainer.num_nodes", "2"]
    sizes = {0: "4", 1: "auto"}
    nodes = [start("--out", str(run), *words, "--batch-size", sizes[node], NODE_RANK=str(node)) for node in (1, 0)]
    results = ended(*nodes)
    assert [code for code, _ in results] == [0, 0], results
    assert digest(run) == alone


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fail_fast_stops_all_ranks(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*CPU, "--targets", "logits:0-15", "--batch-size", "1", "--trainer.max_steps", "100", "--fail-fast"]
    ((code, output),) = ended(
        start("--out", str(run), *words, "--model.optimizer.lr", "1e60", "--trainer.devices", "2")
    )
    assert code == 1, output
    statuses = [record.status for record in read_manifest(run / "manifest.jsonl")]
    assert 1 <= statuses.count("diverged") <= 4
    assert statuses.count("partial") == 16 - statuses.count("diverged")
    assert "jobs are not done" in output


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rank_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    """On several machines nobody sees a process die."""
    run = tmp_path / "run"
    silence = {"LIGHTNING_FV_SILENCE": "5"}
    words = ["--out", str(run), *QUICK]
    first, second = (start(*words, "--trainer.num_nodes", "2", NODE_RANK=str(n), **silence) for n in (0, 1))
    wait_for(lambda: process_of(run, 1), second)
    os.kill(second.pid, signal.SIGKILL)
    ((code, output),) = ended(first)
    assert code == 1, output
    assert "rank 1 gave no sign of life for 5 s" in output
    assert "jobs are not done" in output
    missing = [job.name for job in run.glob("jobs/*") if not (job / "done.jsonl").exists()]
    assert all(name in output for name in missing)
    records = read_manifest(run / "manifest.jsonl")
    assert len(records) == 24
    assert sum(record.status == "done" for record in records) >= 12
    assert (run / "sheet.png").is_file()
    second.communicate()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rank_that_hangs_is_given_up(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *QUICK, "--trainer.devices", "2", LIGHTNING_FV_SILENCE="5")
    wait_for(lambda: process_of(run, 1), process)
    child = process_of(run, 1)
    os.kill(child, signal.SIGSTOP)
    ((code, output),) = ended(process)
    assert code == 1, output
    assert "rank 1 gave no sign of life for 5 s" in output
    assert not alive(child)
    assert sum(record.status == "done" for record in read_manifest(run / "manifest.jsonl")) >= 12


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ranks_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, "--trainer.devices", "2")
    wait_for(lambda: process_of(run, 1) and len(checkpoints(run)) == 2, process)
    child = process_of(run, 1)
    process.kill()
    process.communicate(timeout=SECONDS)
    end = time.monotonic() + 60
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_second_process_in_the_same_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also by --resume, also as another rank; and no longer once the first is killed."""
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG)
    wait_for(lambda: checkpoints(run), process)
    assert main(["--out", str(run), "--resume"]) == 2
    told = capsys.readouterr().err
    assert f"{run} is in use: process {process.pid} on " in told
    assert "renders there as rank 0" in told
    assert main(["--out", str(run), *LONG]) == 2
    assert "is not empty" in capsys.readouterr().err
    process.kill()
    process.communicate(timeout=SECONDS)
    with hold_slot(run, 0):
        pass


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom lightning_fv.engines.fleet import hold_slot\n"
        "with hold_slot(Path(sys.argv[1]), int(sys.argv[2])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    from lightning_fv.errors import RunFolderError

    for rank in ("0", "1"):
        holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), rank], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        # Rank 0 is refused also while another rank of an earlier launch lives.
        with (
            pytest.raises(RunFolderError, match=f"process {holder.pid} on .* renders there as rank {rank}"),
            hold_slot(tmp_path, 0),
        ):
            pass
        holder.kill()
        holder.communicate()
        with hold_slot(tmp_path, 0), hold_slot(tmp_path, 1):
            pass


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rank_waits_for_the_first_no_longer_than_it_is_told(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "run"), *QUICK, "--trainer.num_nodes", "2"]
    ((code, output),) = ended(start(*words, NODE_RANK="1", LIGHTNING_FV_MEETING="2"))
    assert code == 2
    (line,) = output.splitlines()
    assert line.startswith("lightning-fv: error: rank 1 has waited 2 s for rank 0")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ranks_with_other_settings_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    nodes = ["--out", str(run), "--trainer.num_nodes", "2"]
    first = start(*nodes, *LONG, NODE_RANK="0")
    other = start(*nodes, *LONG, "--seed", "5", NODE_RANK="1")
    ((code, output),) = ended(other)
    assert code == 2
    assert "seed: 0 in the run, 5 now" in output
    ((code, output),) = ended(start("--out", str(run), "--trainer.num_nodes", "3", *LONG, NODE_RANK="1"))
    assert code == 2
    assert "counts 2 ranks, rank 1 counts 3" in output
    first.terminate()
    assert ended(first)[0][0] == 143


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        ([], {"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "0"},
         "under torchrun: add --out"),
        ([], slurm(1), "under SLURM: add --out"),
        (["--trainer.num_nodes", "2"], {"NODE_RANK": "1"}, "under NODE_RANK: add --out"),
        (["--trainer.num_nodes", "2"], {}, "set NODE_RANK=0 to 1"),
        (["--trainer.num_nodes", "2"], {"NODE_RANK": "2"}, "--trainer.num_nodes 3"),
        (["--trainer.num_nodes", "2"], {"NODE_RANK": "two"}, "NODE_RANK must be a whole number"),
        (["--trainer.devices", "2"], {"LOCAL_RANK": "2"}, "--trainer.devices 3"),
        (["--trainer.devices", "0"], {}, "the Trainer cannot be made"),
        (["--trainer.strategy", "fsdp"], {}, "trainer.strategy fsdp is not for pictures"),
        (["--trainer.strategy", "ddp_spawn", "--trainer.devices", "2"], {}, "give independent"),
        (["--trainer.strategy", "independant"], {}, "give independent"),
        (["--trainer.strategy", "single_device", "--trainer.devices", "2"], {}, "no use for 2 devices"),
        (["--trainer.strategy", "ddp", "--trainer.devices", "2", "--batch_size", "4"], {}, "take --trainer.strategy independent"),
        (["--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.callbacks+=ProgressiveUpscale"], {},
         "ProgressiveUpscale cannot grow"),
        (["--trainer.strategy", "ddp", "--trainer.num_nodes", "2", "--out", "x"], {"NODE_RANK": "0"}, "MASTER_ADDR"),
        (["--engine", "ray", "--out", "x"], slurm(0), "start it once"),
        (["--trainer.devices", "2", "--batch_size", "4"], {"LIGHTNING_FV_SILENCE": "soon"}, "LIGHTNING_FV_SILENCE"),
    ],
)  # fmt: skip
def test_refusals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    variables: dict[str, str],
    told: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert main([*CPU, "--targets", "logits:0-7", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    assert told in line
    assert not list(tmp_path.iterdir())


def test_one_job_takes_one_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*CPU, "--targets", "logits:0-2", "--trainer.max_steps", "1", "--trainer.devices", "2"]
    assert main(["--out", str(tmp_path / "run"), *words]) == 0
    assert "one device of 2 renders, as 3 targets fill one job" in capsys.readouterr().err
    assert not (tmp_path / "run" / RANKS / "1.lock").exists()


def test_comparison_is_not_for_launchers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in slurm(0).items():
        monkeypatch.setenv(name, value)
    assert main(["compare", "--out", str(tmp_path / "run"), *CPU]) == 2
    assert "start it once, with --trainer.devices" in capsys.readouterr().err
