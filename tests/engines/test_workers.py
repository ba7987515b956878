"""Several workers on one run folder, as real processes: the same pictures whoever starts them and whatever befalls them."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lightning_fv.commands.fit import prepare
from lightning_fv.commands.main import main
from lightning_fv.engines.workers import MAX_ATTEMPTS
from lightning_fv.errors import RunFolderError
from lightning_fv.runs.record import read_manifest
from tests.engines.ray_nodes import on, two_nodes
from tests.engines.runs import plan_of, work
from tests.processes import SECONDS, Process, alive, digest, finish, slurm, start, statuses, torchrun, wait_for

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
    *CPU, "--targets", "logits:0-7", "--batch_size", "4", "--trainer.max_steps", "100000", "--checkpoint_seconds", "0.3",
]  # fmt: skip
"""Two jobs without an end."""
MIDDLE = [
    *CPU,
    "--targets",
    "logits:0-7",
    "--batch_size",
    "4",
    "--trainer.max_steps",
    "600",
    "--checkpoint_seconds",
    "0.2",
]
"""Two jobs that are long enough to be interrupted."""


def holders(run: Path) -> dict[str, int]:
    """Process ids of those that hold claims, by job."""
    found = {}
    for lock in (run / ".run").glob("*.lock"):
        words = lock.read_text().split()
        if len(words) > 1 and lock.stem != "report":
            found[lock.stem] = int(words[1])
    return found


def child_of(run: Path, process: Process) -> int:
    """The process id of a worker that another one started, once it has a claim; else 0."""
    return next((holder for holder in holders(run).values() if holder != process.pid), 0)


def done(run: Path) -> set[str]:
    return {file.parent.name for file in run.glob("jobs/*/done.jsonl")}


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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of one process, of the jobs that are long enough to be interrupted."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main(["--out", str(run), *MIDDLE]) == 0
    return digest(run)


WITNESS = """
import json, os, time
from pathlib import Path
import lightning.pytorch as pl, torch

class Witness(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        locks = Path(trainer.default_root_dir, ".run").glob
        end = time.monotonic() + 120
        while not any(Path(os.environ["WITNESS"]).iterdir()) and time.monotonic() < end:
            if sum(lock.stat().st_size > 0 for lock in locks("*.lock")) == 2:
                break  # both are at work
            time.sleep(0.05)
        told = {
            "process": os.getpid(),
            "seen": [trainer.world_size, trainer.global_rank, trainer.is_global_zero, trainer.num_nodes],
            "group": torch.distributed.is_initialized(), "threads": torch.get_num_threads(),
            "omp": os.environ.get("OMP_NUM_THREADS"),
        }
        Path(os.environ["WITNESS"], pl_module.targets[0].id).write_text(json.dumps(told))
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


def test_as_many_workers_as_devices(
    tmp_path: Path, alone: str, witness: Callable[[], list[Mapping[str, object]]]
) -> None:
    """As `--trainer.devices 2` alone: the folder is the next version_N, and one line shows the progress of both."""
    words = [word for word in QUICK if word not in ("--trainer.enable_progress_bar", "false")]
    process = start(*words, "--trainer.devices", "2", "--trainer.callbacks+=witness.Witness", cwd=tmp_path)
    code, told = finish(process)
    assert code == 0, told
    run = tmp_path / "lightning_logs" / "version_0"
    assert [p.name for p in run.parent.iterdir()] == ["version_0"]
    assert digest(run) == alone
    assert "24 of 24 targets done" in told
    assert "6/6 jobs, " in told
    assert "pictures/s" in told
    assert "steps" not in told  # no bar of a single job
    seen = witness()
    assert len(seen) == 6
    assert len({entry["process"] for entry in seen}) == 2
    for entry in seen:
        assert entry["seen"] == [1, 0, True, 1]
        assert entry["group"] is False
        assert (entry["threads"], entry["omp"]) == (1, "1")
    assert len(list(run.glob("jobs/*/events.out.tfevents.*"))) == 12
    assert len(read_manifest(run / "manifest.jsonl")) == 24
    assert (run / "sheet.png").is_file()
    # Resumed by one process, by more workers, or elsewhere: nothing is left to do.
    for other in (["--trainer.devices", "1"], ["--trainer.devices", "3"], ["--engine", "ray"]):
        assert main(["--out", str(run), "--resume", *other]) == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_one_digest_nine_ways(tmp_path: Path) -> None:
    """24 targets, with growth and blur: whoever renders them, the pixels are the same."""
    pytest.importorskip("ray")
    words = [*WHOLE, "--checkpoint_seconds", "0.1"]
    two, none_left = ["--trainer.devices", "2"], "24 of 24 targets done"
    names = ("alone", "launcher", "torchrun", "NODE_RANK", "SLURM", "Ray", "killed", "joined", "taken over")
    runs = {name: tmp_path / name.replace(" ", "_") for name in names}

    def out(name: str) -> list[str]:
        return ["--out", str(runs[name])]

    def whole(*processes: Process, reports: int = 1) -> None:
        results = [finish(process) for process in processes]
        assert [code for code, _ in results] == [0] * len(results), results
        assert sum(told.count(none_left) for _, told in results) == reports, results

    whole(start(*out("alone"), *words))
    whole(start(*out("launcher"), *words, *two))
    whole(start(*out("torchrun"), *words, under=torchrun(2)))
    by_hand = [*out("NODE_RANK"), *words, "--trainer.num_nodes", "2"]
    whole(*[start(*by_hand, NODE_RANK=str(node)) for node in (1, 0)])
    whole(*[start(*out("SLURM"), *words, **slurm(node)) for node in (0, 1)])
    with two_nodes() as cluster:
        whole(start(*out("Ray"), *words, *on(cluster)))

    # Killed, and finished later by another.
    process = start(*out("killed"), *words)
    wait_for(lambda: len(done(runs["killed"])) >= 1, process)
    process.kill()
    finish(process)
    whole(start(*out("killed"), "--resume"))

    # A worker that joins late, by the same command, and one that joins by --resume.
    first = start(*out("joined"), *words)
    wait_for(lambda: len(done(runs["joined"])) >= 1, first)
    whole(first, start(*out("joined"), *words), start(*out("joined"), "--resume"), reports=3)

    # A worker that is killed while another is at work, which takes its job over.
    process = start(*out("taken over"), *words, *two)
    wait_for(lambda: len(done(runs["taken over"])) >= 1 and child_of(runs["taken over"], process), process)
    os.kill(child_of(runs["taken over"], process), signal.SIGKILL)
    whole(process)

    assert len(list(runs["alone"].glob("images/*.png"))) == 24
    digests = {name: digest(run) for name, run in runs.items()}
    assert len(set(digests.values())) == 1, digests
    print(*(f"{digest[:16]}  {name}" for name, digest in digests.items()), sep="\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_living_worker_takes_over_from_the_checkpoint_of_a_killed_one(tmp_path: Path, undisturbed: str) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *MIDDLE, "--trainer.devices", "2")
    wait_for(lambda: child_of(run, process) and len(checkpoints(run)) == 2, process)
    child = child_of(run, process)
    (job,) = [job for job, holder in holders(run).items() if holder == child]
    os.kill(child, signal.SIGKILL)
    saved = last_step(run / "jobs" / job / "checkpoints")
    assert 0 < saved < 600
    code, told = finish(process)
    assert code == 0, told
    assert "worker 1 ended with signal 9 (SIGKILL)" in told
    assert statuses(run) == ["done"] * 8
    assert digest(run) == undisturbed
    film = sorted(int(frame.stem) for frame in (run / "jobs" / job / "frames").iterdir())
    assert film[-1] == 600
    assert (run / "sheet.png").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_stopped_worker_keeps_its_claim_until_it_is_killed_or_goes_on(tmp_path: Path, undisturbed: str) -> None:
    run = tmp_path / "run"
    first = start("--out", str(run), *MIDDLE)
    wait_for(lambda: checkpoints(run), first)
    first.send_signal(signal.SIGSTOP)
    second = start("--out", str(run), *MIDDLE)
    wait_for(lambda: len(done(run)) == 1, second)  # it takes the other job, and then waits
    time.sleep(2)
    assert len(done(run)) == 1
    assert second.poll() is None
    assert first.pid in holders(run).values()
    first.kill()
    finish(first)
    code, told = finish(second)
    assert code == 0, told
    assert digest(run) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_torchrun_starts_the_workers_again_and_they_go_on(tmp_path: Path, undisturbed: str) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *MIDDLE, under=torchrun(2, "--max-restarts", "1"))
    wait_for(lambda: len(holders(run)) == 2 and len(checkpoints(run)) == 2, process)
    os.kill(next(iter(holders(run).values())), signal.SIGKILL)
    code, told = finish(process)
    assert code == 0, told
    assert digest(run) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_more_workers_than_jobs(tmp_path: Path) -> None:
    """Idle workers end clean, every target is done once."""
    run = tmp_path / "run"
    words = [*CPU, "--targets", "logits:0-4", "--batch_size", "2", "--trainer.max_steps", "2"]
    code, told = finish(start("--out", str(run), *words, under=torchrun(4)))
    assert code == 0, told
    assert statuses(run) == ["done"] * 5
    assert len(list(run.glob("jobs/*"))) == 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_first_stops_all_and_any_number_goes_on(tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, "--trainer.devices", "2")
    wait_for(lambda: child_of(run, process) and len(checkpoints(run)) == 2, process)
    child = child_of(run, process)
    process.send_signal(number)
    given, told = finish(process)
    assert given == code, told
    assert not alive(child)
    assert not holders(run)
    last = {job: last_step(job) for job in checkpoints(run)}
    assert len(last) == 2
    process = start("--out", str(run), "--resume", "--trainer.devices", "3")
    wait_for(lambda: all(last_step(job) > step for job, step in last.items()), process)
    process.terminate()
    assert finish(process)[0] == 143
    records = read_manifest(run / "manifest.jsonl")
    assert [record.status for record in records] == ["partial"] * 8
    assert all(record.steps > 0 and (run / str(record.image)).is_file() for record in records)
    assert {last_step(job) for job in checkpoints(run)} == {record.steps for record in records}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_picture_that_was_lost_is_made_again(tmp_path: Path, alone: str) -> None:
    """The mark of its job still stands, and must not be taken for there being nothing to do."""
    run = tmp_path / "run"
    assert main(["--out", str(run), *QUICK]) == 0
    lost = run / "images" / "logits-0004-king-penguin.png"
    lost.write_bytes(lost.read_bytes()[:100])
    code, told = finish(start("--out", str(run), "--resume", "--trainer.devices", "2"))
    assert code == 0, told
    assert digest(run) == alone


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whoever_begins_a_run_says_how_many_pictures_a_job_has(tmp_path: Path, alone: str) -> None:
    """It may have measured a GPU; others, of whatever kind, take its number from the run's settings."""
    run = tmp_path / "run"
    words = [*CPU, "--targets", "logits:all", "--trainer.max_steps", "6"]
    first = start("--out", str(run), *words, "--batch-size", "4")
    wait_for((run / "config.yaml").is_file, first)
    results = [finish(process) for process in (first, start("--out", str(run), *words))]
    assert [code for code, _ in results] == [0, 0], results
    assert digest(run) == alone


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fail_fast_stops_all_workers(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*CPU, "--targets", "logits:0-15", "--batch-size", "1", "--trainer.max_steps", "100", "--fail-fast"]
    code, told = finish(start("--out", str(run), *words, "--model.optimizer.lr", "1e60", "--trainer.devices", "2"))
    assert code == 1, told
    found = statuses(run)
    assert 1 <= found.count("diverged") <= 4
    assert found.count("pending") + found.count("partial") == 16 - found.count("diverged")
    assert "lightning-fv --resume --out" in told


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, "--trainer.devices", "2")
    wait_for(lambda: child_of(run, process) and len(checkpoints(run)) == 2, process)
    child = child_of(run, process)
    process.kill()
    end = time.monotonic() + SECONDS
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_with_other_settings_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = start("--out", str(run), *LONG)
    wait_for(lambda: checkpoints(run), first)
    code, told = finish(start("--out", str(run), *LONG, "--seed", "5"))
    assert code == 2
    assert "seed: 0 in the run, 5 now" in told
    first.terminate()
    assert finish(first)[0] == 143


def test_workers_that_would_render_other_pictures_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings are the same, and the weights are not."""
    from safetensors.torch import load_file, save_file

    from lightning_fv.networks.demo import ASSETS

    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((ASSETS / "demo.safetensors").read_bytes())
    words = [*CPU, "--targets", "logits:0", "--trainer.max_steps", "2", "--weights", str(weights)]
    run = tmp_path / "run"
    assert main(["--out", str(run), *words]) == 0
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, metadata)
    capsys.readouterr()
    for again in ([*words], ["--resume"]):
        assert main(["--out", str(run), *again]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "holds a run of other pictures: the weights" in line


@pytest.mark.parametrize("missing", [OSError(38, "Function not implemented"), OSError(37, "No locks available")])
def test_several_workers_need_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: OSError
) -> None:
    """Some file systems have none: one worker renders as ever, several are refused."""

    def flock(*args: object) -> None:
        raise missing

    monkeypatch.setattr(fcntl, "flock", flock)
    words = [*CPU, "--targets", "logits:0-1", "--batch-size", "1", "--trainer.max_steps", "2"]
    assert main(["--out", str(tmp_path / "many"), *words, "--trainer.devices", "2"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "has no locks (flock)" in line
    assert "--engine ray" in line
    assert not list((tmp_path / "many").glob("images/*"))
    assert main(["--out", str(tmp_path / "one"), *words]) == 0
    assert "has no locks: do not start a second worker there" in capsys.readouterr().err
    assert statuses(tmp_path / "one") == ["done"] * 2


def test_a_job_that_another_worker_failed_is_not_tried_again_at_once(tmp_path: Path) -> None:
    """Each worker tries what failed before it began once; what fails meanwhile is known to fail."""
    plan = plan_of("logits:0-2", 1, tmp_path / "run")
    folder = plan.folder
    assert folder is not None
    old, new, healthy = plan.jobs

    def fail(job: object) -> None:
        folder.job(job).mark_unfinished(plan.blank_records(job.targets, "failed", error="x"))  # type: ignore[arg-type, attr-defined]

    fail(old)
    failures = folder.failure

    def failing_meanwhile(job: object) -> int | None:
        stamp = failures(job)  # type: ignore[arg-type]
        if job is healthy:
            fail(new)  # once this worker has begun
        return stamp

    folder.failure = failing_meanwhile  # type: ignore[method-assign]
    found = {result.job.id: result.records[0].status for result in work(plan)}
    assert found == {old.id: "done", new.id: "failed", healthy.id: "done"}


def test_jobs_that_failed_before_come_last_and_do_not_block_the_others(tmp_path: Path) -> None:
    plan = plan_of("logits:0-5", 1, tmp_path / "run")
    folder = plan.folder
    assert folder is not None
    for job in plan.jobs[:4]:
        folder.job(job).mark_unfinished(plan.blank_records(job.targets, "failed", error="x"))
    order = [result.job.id for result in work(plan)]
    assert order == [job.id for job in (*plan.jobs[4:], *plan.jobs[:4])]


def test_a_job_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    """As by its need for memory: else it would end one worker after another, and every --resume."""
    plan = plan_of("logits:0-1", 1, tmp_path / "run")
    deadly, healthy = plan.jobs
    (tmp_path / "run" / ".run" / f"{deadly.id}.lock").write_text(f"process 1 on node7, attempt {MAX_ATTEMPTS}")
    with pytest.warns(UserWarning, match=f"failed: {MAX_ATTEMPTS} workers in a row died while they rendered it"):
        found = {result.job.id: result.records[0].status for result in work(plan)}
    assert found == {deadly.id: "failed", healthy.id: "done"}
    assert {result.records[0].status for result in work(plan)} == {"done"}  # the next run tries it again


def test_a_worker_that_loads_while_another_begins_the_run_agrees_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*CPU, "--targets", "logits:0-3", "--trainer.max_steps", "2", "--out", str(tmp_path / "run")]
    late, other = prepare(words), prepare([*words, "--trainer.max_steps", "3"])
    late.measured, late.cli.config.batch_size = True, 4  # what its own GPU would take
    assert main([*words, "--batch-size", "2"]) == 0
    late.open()
    assert late.finished()
    assert len(late.plan.jobs) == 2
    with pytest.raises(RunFolderError, match=r"trainer\.max_steps: 2 in the run, 3 now"):
        other.open()


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        ([], {"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "0"},
         "under torchrun, all processes need the same folder: add --out"),
        ([], slurm(1), "under SLURM, all processes need the same folder: add --out"),
        (["--trainer.num_nodes", "2"], {"NODE_RANK": "1"}, "under NODE_RANK, all processes need the same folder: add --out"),
        (["--trainer.num_nodes", "2"], {}, "NODE_RANK is not set; set it"),
        (["--trainer.num_nodes", "2"], {"NODE_RANK": "2"}, "--trainer.num_nodes 3"),
        (["--trainer.num_nodes", "2"], {"NODE_RANK": "two"}, "NODE_RANK must be a whole number"),
        (["--trainer.devices", "2"], {"LOCAL_RANK": "2"}, "--trainer.devices 3"),
        (["--trainer.devices", "0"], {}, "invalid Trainer options"),
        (["--trainer.strategy", "fsdp"], {}, "trainer.strategy fsdp is not supported"),
        (["--trainer.strategy", "ddp_spawn", "--trainer.devices", "2"], {}, "give independent"),
        (["--trainer.strategy", "independant"], {}, "give independent"),
        (["--trainer.strategy", "single_device", "--trainer.devices", "2"], {}, "cannot use 2 devices"),
        (["--trainer.strategy", "ddp", "--trainer.devices", "2", "--batch_size", "4"], {}, "use --trainer.strategy independent"),
        (["--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.callbacks+=ProgressiveUpscale"], {},
         "ProgressiveUpscale cannot grow"),
        (["--trainer.strategy", "ddp", "--trainer.num_nodes", "2", "--out", "x"], {"NODE_RANK": "0"}, "MASTER_ADDR"),
        (["--engine", "ray", "--out", "x"], slurm(0), "start it once"),
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
    words = [*CPU, "--targets", "logits:0-2", "--batch-size", "3", "--trainer.max_steps", "1", "--trainer.devices", "2"]
    assert main(["--out", str(tmp_path / "run"), *words]) == 0
    assert "only one of 2 devices renders, since 3 targets make one job" in capsys.readouterr().err
