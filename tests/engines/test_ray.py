"""Ray, on a cluster of two nodes on this machine: what is killed, removed and added are real processes."""

import contextlib
import os
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_fv.commands.main import main
from lightning_fv.runs.record import read_manifest
from tests.engines.ray_nodes import STORE, added, on, two_nodes
from tests.processes import ROOT, ends_within, finish, pictures, start, start_command, start_python, statuses, wait_for

pytestmark = pytest.mark.timeout(900)  # a dozen processes that import torch, on two cores that others use, too
CPU = ["--trainer.accelerator", "cpu"]
JOBS = [*CPU, "--targets", "logits:all", "--batch_size", "4"]  # six jobs


# -- without a cluster ---------------------------------------------------------------------------------------------


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    code = """
        import sys
        class Hidden:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "ray":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Hidden())
        from lightning_fv.commands.main import main
        sys.exit(main(sys.argv[1:]))
    """
    run = tmp_path / "run"
    ended, told = finish(start_python("-c", textwrap.dedent(code), "--engine", "ray", "--out", str(run)))
    assert ended == 2
    (line,) = told.splitlines()
    assert "pip install 'lightning_fv[ray]'" in line
    assert not run.exists()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--ray.address", "127.0.0.1:1"], "no answer"),
        (["--ray.address", "ray://head:10001"], "give HOST:PORT"),
        (["--ray.address", "head:port"], "no answer"),
        (["--ray.gpus_per_job", "2"], "a job renders on one device"),
        (["--ray.cpus_per_job", "0"], "give a whole number"),
        (["--ray.cpus_per_job", "1.5"], "give a whole number"),
        (["--trainer.devices", "2"], "gives each job one device"),
        (["--trainer.strategy", "ddp"], "gives each job one device"),
        (["--engine", "rey"], "engine"),
    ],
)
def test_bad_usage_is_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], told: str
) -> None:
    pytest.importorskip("ray")
    run = tmp_path / "run"
    assert main(["--out", str(run), "--engine", "ray", *CPU, *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning-fv: error: ")
    assert told in line
    assert not run.exists()


# -- a cluster -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    with two_nodes() as made:
        yield made


def busy_workers(raylets: set[int] | None = None) -> list[int]:
    """Process ids of Ray's workers that are in a job of ours, children of the given raylets if any are given."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if (folder / "cmdline").read_bytes().startswith(b"ray::job"):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if raylets is None or parent in raylets:
                    found.append(int(folder.name))
    return found


def raylet(node: Any) -> int:
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


def raylets(cluster: Any) -> set[int]:
    return {raylet(node) for node in cluster.list_all_nodes()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, bytes]]:
    """Pictures of a run in one process, by its options; each made once."""
    made: dict[tuple[str, ...], dict[str, bytes]] = {}

    def render(*args: str) -> dict[str, bytes]:
        if args not in made:
            run = tmp_path_factory.mktemp("alone") / "run"
            assert main(["--out", str(run), "--trainer.enable_progress_bar", "false", *args]) == 0
            made[args] = pictures(run)
        return made[args]

    return render


def test_same_pictures_as_in_one_process(
    tmp_path: Path, cluster: Any, alone: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    run, args = tmp_path / "run", [*JOBS, "--trainer.max_steps", "3"]
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["--out", str(run), *args, *on(cluster)]) == 0
    told = capfd.readouterr()
    assert told.out.startswith("24 of 24 targets done")
    assert len(told.out.splitlines()) == 5  # nothing of Ray's own
    assert "6/6 jobs, " in told.err
    assert told.err.count("\n") == 1  # the line of progress
    assert pictures(run) == alone(*args)
    assert len(pictures(run)) == 24
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert {path.name for path in run.iterdir()} == {
        ".run", "config.yaml", "gallery.html", "images", "jobs", "manifest.jsonl", "progress.webp", "sheet.png",
    }  # fmt: skip
    # Where a run is computed may change: what is lost is made again in this process, what is done is left.
    lost = run / "images" / "logits-0003-monarch.png"
    lost.unlink()
    assert main(["--out", str(run), "--resume", "--engine", "process", "--trainer.enable_progress_bar", "false"]) == 0
    assert pictures(run) == alone(*args)
    for other in ([], ["--trainer.devices", "2"]):  # as the run was, and as ranks
        assert main(["--out", str(run), "--resume", *other]) == 0
        assert "is finished; nothing is left to do" in capfd.readouterr().out


@pytest.mark.slow
def test_a_ray_of_our_own_and_as_many_threads_as_the_driver(tmp_path: Path) -> None:
    """Bits depend on the number of threads, and Ray would give a task of one CPU one thread."""
    pytest.importorskip("ray")
    args = [*CPU, "--targets", "logits:0-7", "--trainer.max_steps", "6", "--model.size", "96"]
    args += ["--trainer.callbacks+=tests.engines.ray_nodes.TellThreads"]
    environment = {
        "OMP_NUM_THREADS": "2", "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(STORE), "PYTHONPATH": str(ROOT),
        "TELL_THREADS": str(tmp_path / "threads"),
    }  # fmt: skip
    here, there = tmp_path / "here", tmp_path / "there"
    assert finish(start("--out", str(here), *args, **environment))[0] == 0
    code, told = finish(
        start("--out", str(there), *args, "--engine", "ray", "--ray.cpus_per_job", "0.5", **environment)
    )
    assert code == 0, told
    assert pictures(there) == pictures(here)
    assert (tmp_path / "threads").read_text() == "2 2 "
    crowded = start(
        "--out", str(tmp_path / "no"), *args, "--engine", "ray", "--ray.cpus_per_job", "4096", **environment
    )
    code, told = finish(crowded)
    own_code, error = told.splitlines()
    assert own_code.startswith("lightning-fv: running your own code: tests.engines.ray_nodes.TellThreads")
    assert (code, "too small for a job of 4096 CPUs" in error) == (2, True)
    assert not (tmp_path / "no").exists()


LONG = [*JOBS, "--trainer.max_steps", "80", "--checkpoint_seconds", "0.5"]


@pytest.mark.slow
def test_a_worker_that_is_killed_in_mid_job(tmp_path: Path, cluster: Any, alone: Any) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, *on(cluster))
    wait_for(lambda: len(busy_workers(raylets(cluster))) == 2, process)
    time.sleep(1)
    os.kill(busy_workers(raylets(cluster))[0], signal.SIGKILL)
    code, told = finish(process)
    assert code == 0, told
    assert "lost its worker (WorkerCrashed); retry 1 of 3" in told
    assert statuses(run) == ["done"] * 24
    assert pictures(run) == alone(*LONG)


@pytest.mark.slow
def test_a_node_that_is_removed_in_mid_job(tmp_path: Path, cluster: Any, alone: Any) -> None:
    run, third = tmp_path / "run", added(cluster)
    process = start("--out", str(run), *LONG, *on(cluster))
    wait_for(lambda: busy_workers({raylet(third)}), process)
    time.sleep(1)
    cluster.remove_node(third, allow_graceful=False)
    code, told = finish(process)
    assert code == 0, told
    assert "lost its worker" in told
    assert statuses(run) == ["done"] * 24
    assert pictures(run) == alone(*LONG)


@pytest.mark.slow
def test_a_node_that_is_added_gets_work(tmp_path: Path, cluster: Any, alone: Any) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, *on(cluster))
    wait_for(lambda: busy_workers(raylets(cluster)), process)
    third = added(cluster)
    try:
        wait_for(lambda: busy_workers({raylet(third)}), process)
        code, told = finish(process)
    finally:
        cluster.remove_node(third)
    assert code == 0, told
    assert pictures(run) == alone(*LONG)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_and_resumed(tmp_path: Path, cluster: Any, alone: Any, number: int, code: int) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, *on(cluster))
    wait_for(lambda: list(run.glob("jobs/*/done.jsonl")) and busy_workers(raylets(cluster)), process)
    time.sleep(2)  # on to the middle of the next
    process.send_signal(number)
    begin = time.monotonic()
    ended, told = finish(process)
    assert ended == code, told
    assert time.monotonic() - begin < 60
    before = statuses(run)
    assert 4 <= before.count("done") < 24
    assert set(before) <= {"done", "partial", "pending"}
    assert "partial" in before
    partial = [record for record in read_manifest(run / "manifest.jsonl") if record.status == "partial"]
    assert all((run / record.image).is_file() for record in partial if record.image is not None)
    assert len(pictures(run)) == before.count("done")
    if any(record.steps for record in partial):
        assert list(run.glob("jobs/*/checkpoints/step=*.ckpt"))
    assert not busy_workers(raylets(cluster))
    kept = {file: file.stat().st_mtime_ns for file in run.glob("images/*.png")}
    ended, told = finish(start("--out", str(run), "--resume"))
    assert ended == 0, told
    assert pictures(run) == alone(*LONG)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert not list(run.glob("partial/*.png"))
    assert not list(run.glob("**/*.partial"))


@pytest.fixture
def blind_node(tmp_path: Path, cluster: Any) -> Iterator[int]:
    """A node in a mount namespace of its own, in which another disk lies over ``tmp_path``; gives its raylet's id."""
    command = shutil.which("unshare")
    if command is None or finish(start_command(command, "-m", "true"))[0]:
        pytest.skip("a mount namespace cannot be made here; the other tests use one file system")
    script = (
        'mount -t tmpfs none "$1" && mkdir -p "$2" && exec "$3" -m ray.scripts.scripts start --block --address="$4" \
        --num-cpus=1 --object-store-memory="$5" --resources=\'{"blind": 1}\''
    )
    run = tmp_path / "run"  # it has a folder of that name, which is not the driver's
    words = ["sh", "-c", script, "sh", str(tmp_path), str(run), sys.executable, cluster.address, str(STORE)]
    process = start_command(command, "-m", *words)
    wait_for(lambda: [pid for pid in process.family() if name_of(pid) == "raylet"], process)
    yield next(pid for pid in process.family() if name_of(pid) == "raylet")
    process.terminate()
    ends_within(process, 20)


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_folder(tmp_path: Path, cluster: Any, alone: Any, blind_node: int) -> None:
    run = tmp_path / "run"
    process = start("--out", str(run), *LONG, *on(cluster))
    wait_for(lambda: busy_workers({blind_node}), process)
    code, told = finish(process)
    assert code == 0, told
    assert pictures(run) == alone(*LONG)
    for job in (run / "jobs").iterdir():
        assert (job / "done.jsonl").is_file()
        assert list(job.glob("frames/*.jpg"))
        assert list(job.glob("events.out.tfevents.*.images"))


BROKEN = """
import os, signal, warnings
import lightning.pytorch as pl
from lightning_fv.errors import TransformError

class Broken(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        names = {target.text.partition(":")[2] for target in pl_module.targets}
        if trainer.global_step == 2:
            if "pizza" in names:
                raise TransformError("no pizza today")
            if "iPod" in names:
                raise ValueError("two\\nlines")
            if "espresso" in names:
                os.kill(os.getpid(), signal.SIGKILL)
            warnings.warn("a warning of one's own")
"""


@pytest.mark.slow
def test_fail_fast_stops_the_others(tmp_path: Path, cluster: Any) -> None:
    run = tmp_path / "run"
    words = [*CPU, "--targets", "logits:0-15", "--batch-size", "1", "--trainer.max_steps", "100", "--fail-fast"]
    code, told = finish(start("--out", str(run), *words, "--model.optimizer.lr", "1e60", *on(cluster)))
    assert code == 1, told
    assert 1 <= statuses(run).count("diverged") <= 4
    found = statuses(run)
    assert found.count("pending") + found.count("partial") == 16 - found.count("diverged")


@pytest.mark.slow
def test_a_job_that_fails_does_not_stop_the_others(tmp_path: Path, cluster: Any) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run = tmp_path / "run"
    names = ["espresso", "pizza", "iPod", "goldfish", "monarch"]
    args = ["--targets", "+".join(f"logits:{name}" for name in names), "--batch_size", "1", "--trainer.max_steps", "4"]
    args += ["--trainer.callbacks+=broken.Broken", *CPU, *on(cluster)]
    elsewhere = finish(start("--out", str(tmp_path / "not"), *args, PYTHONPATH=path))
    assert elsewhere[0] == 1
    assert "No module named 'broken'; install it on all nodes" in elsewhere[1]
    # Ray lets workers import from the folder that the driver was started in.
    code, told = finish(start("--out", str(run), *args, PYTHONPATH=path, cwd=tmp_path))
    assert code == 1, told
    records = {record.target.partition(":")[2]: record for record in read_manifest(run / "manifest.jsonl")}
    assert list(records) == names
    assert [record.status for record in records.values()] == ["failed"] * 3 + ["done"] * 2
    assert records["pizza"].error == "no pizza today"
    assert records["iPod"].error == "ValueError: two"
    assert "lost its worker 4 times" in str(records["espresso"].error)
    lines = [line for line in told.splitlines() if " failed: " in line]
    assert len(lines) == 3, told
    for name in names[:3]:
        (line,) = [line for line in lines if f"(logits:{name})" in line]
        assert str(records[name].error) in line
    assert sum("retry" in line for line in told.splitlines()) == 3
    assert sum("a warning of one's own" in line for line in told.splitlines()) == 1
    tracebacks = [file.read_text() for file in run.glob("jobs/*/error.txt")]
    assert len(tracebacks) == 1
    assert sum("two\nlines" in text for text in tracebacks) == 1
    assert "2 of 5 targets done, 3 failed in " in told
