"""Ranks that share the pictures of one job (ddp), as real processes."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

import lightning_fv
from lightning_fv.commands.main import main
from lightning_fv.runs.record import read_manifest
from tests.engines.test_workers import CPU, checkpoints, holders
from tests.processes import digest, finish, listening, start, statuses, torchrun, wait_for

SHARED = [*CPU, "--targets", "logits:pizza+logits:iPod", "--trainer.strategy", "ddp"]

SAVER = """
import os
from pathlib import Path
import lightning.pytorch as pl, torch

class Saver(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        if str(trainer.global_rank) in os.environ.get("DEAF", ""):
            pl_module.dead_units.record_activity = lambda *args: None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == 0:
            (parameter,) = pl_module.parameterization.parameters()
            self.gradient = parameter.grad.clone()

    def on_train_end(self, trainer, pl_module):
        told = {"gradient": self.gradient, "pictures": pl_module.pictures(), "world": trainer.world_size,
                "restarts": pl_module.dead_units.restarts.tolist()}
        torch.save(told, Path(os.environ["SAVER"], f"{trainer.global_rank}.pt"))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("text", "diversity"), [("logits:pizza+logits:iPod", 0.0), ("logits:pizza x2", 1.0)])
def test_shared_pictures_have_the_averaged_gradient_and_are_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, diversity: float
) -> None:
    (tmp_path / "saver.py").write_text(SAVER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("SAVER", str(tmp_path))
    words = [*SHARED, "--trainer.max_steps", "20", "--trainer.callbacks+=saver.Saver", "--targets", text]
    words += ["--model.diversity", str(diversity)]
    by_self, by_torchrun = tmp_path / "self", tmp_path / "torchrun"
    code, output = finish(start("--out", str(by_self), *words, "--trainer.devices", "2"))
    assert code == 0, output
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first["world"] == second["world"] == 2
    assert torch.equal(first["gradient"], second["gradient"])
    assert torch.equal(first["pictures"], second["pictures"])

    # By another way: the mean of what two processes alone would do, rank 0 with the draws of a run on one device.
    network = lightning_fv.load_network("demo")
    targets = lightning_fv.resolve_targets(text, network)
    gradients = []
    for rank in (0, 1):
        bound = lightning_fv.FeatureVisualizer(diversity=diversity).bind(network, targets)
        if rank > 0:
            bound._key_transforms(rank)
        with network.frozen():
            bound.loss(step=0, draw=0).backward()
        (parameter,) = bound.parameterization.parameters()
        assert parameter.grad is not None
        gradients.append(parameter.grad)
    assert not torch.allclose(*gradients)
    torch.testing.assert_close(first["gradient"], (gradients[0] + gradients[1]) / 2, rtol=1e-3, atol=1e-5)

    # Rank 0 alone writes.
    assert len(list(by_self.glob("jobs/*"))) == 1
    assert len(list(by_self.glob("jobs/*/events.out.tfevents.*"))) == 2
    assert len(read_manifest(by_self / "manifest.jsonl")) == 2
    code, output = finish(start("--out", str(by_torchrun), *words, under=torchrun(2)))
    assert code == 0, output
    assert digest(by_torchrun) == digest(by_self)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("deaf", "restarts"), [("1", [0, 0]), ("0, 1", [2, 2])])
def test_a_picture_is_begun_anew_on_all_ranks_or_on_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: str, restarts: list[int]
) -> None:
    """A unit may be silent under one rank's transforms alone: that is not dead."""
    (tmp_path / "saver.py").write_text(SAVER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("SAVER", str(tmp_path))
    monkeypatch.setenv("DEAF", deaf)
    words = [*SHARED, "--trainer.max_steps", "40", "--trainer.callbacks+=saver.Saver", "--trainer.devices", "2"]
    code, output = finish(start("--out", str(tmp_path / "run"), *words))
    assert code == 0, output
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first["restarts"] == second["restarts"] == restarts
    assert torch.equal(first["pictures"], second["pictures"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_shared_render_stops_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [*SHARED, "--trainer.devices", "2", "--trainer.max_steps", "120", "--checkpoint_seconds", "0.3"]
    process = start("--out", str(run), *words)
    wait_for(lambda: checkpoints(run), process)
    process.terminate()
    code, output = finish(process)
    assert code == 143, output
    assert statuses(run) == ["partial"] * 2
    assert main(["--out", str(run), "--resume", "--trainer.devices", "3"]) == 2
    assert "the number of ddp ranks" in capsys.readouterr().err
    code, output = finish(start("--out", str(run), "--resume", under=torchrun(2)))
    assert code == 0, output
    code, output = finish(start("--out", str(whole), *words))
    assert code == 0, output
    assert digest(run) == digest(whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_shared_render_without_room_for_pictures_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """The first rank writes, and meets the disk, alone: nothing there may wait for the others."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [*SHARED, "--trainer.devices", "2", "--trainer.max_steps", "60", "--checkpoint_seconds", "0.1"]
    process = start("--out", str(run), *words)
    wait_for(lambda: checkpoints(run), process)
    (run / "images").touch()
    code, output = finish(process)
    assert code == 1, output
    assert "not written: pictures" in output
    assert "one is gone" not in output
    assert checkpoints(run)
    (run / "images").unlink()
    code, output = finish(start("--out", str(run), "--resume"))
    assert code == 0, output
    assert not list(run.glob("jobs/*/checkpoints"))
    code, output = finish(start("--out", str(whole), *words))
    assert digest(run) == digest(whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_second_shared_render_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*SHARED, "--trainer.devices", "2", "--trainer.max_steps", "100000", "--checkpoint_seconds", "0.3"]
    process = start("--out", str(run), *words)
    wait_for(lambda: checkpoints(run), process)
    code, output = finish(start("--out", str(run), *words))
    assert code == 2, output
    assert "is in use: another process is rendering there" in output
    process.terminate()
    assert finish(process)[0] == 143


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_shared_render_ends_when_a_rank_is_killed(tmp_path: Path) -> None:
    """Within a minute, and not as a success."""
    run = tmp_path / "run"
    words = [*SHARED, "--trainer.devices", "2", "--trainer.max_steps", "100000", "--checkpoint_seconds", "0.3"]
    process = start("--out", str(run), *words)
    wait_for(lambda: checkpoints(run), process)
    begin = time.monotonic()
    (child,) = [pid for lock, pid in holders(run).items() if lock.endswith(".1")]
    os.kill(child, signal.SIGKILL)
    code, output = finish(process)
    assert time.monotonic() - begin < 60
    assert code == 1, output
    assert "--resume" in output
    assert "Traceback" not in output
    assert checkpoints(run)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ranks_on_one_machine_listen_for_themselves_alone(tmp_path: Path) -> None:
    """Whoever can reach the port of a process group can write into it."""
    run = tmp_path / "run"
    words = [*SHARED, "--trainer.devices", "2", "--trainer.max_steps", "100000", "--checkpoint_seconds", "0.3"]
    process = start("--out", str(run), *words)
    wait_for(lambda: checkpoints(run), process)
    assert len(process.family()) == 2
    assert listening(process) == {"127.0.0.1"}
    process.terminate()
    assert finish(process)[0] == 143
