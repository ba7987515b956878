"""Checkpoints: whole or not there, and the last good one is found."""

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from lightning_fv.errors import CheckpointError
from lightning_fv.runs import checkpoints
from lightning_fv.runs.checkpoints import AtomicCheckpointIO, StepCheckpoint, latest_checkpoint
from lightning_fv.runs.files import WriteErrors
from tests.callbacks.fits import fit


def save(folder: Path, step: int) -> Path:
    path = folder / f"step={step}.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"x": torch.tensor(step)}, "global_step": step}, path)
    return path


def test_the_latest_is_the_one_of_most_steps(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "none") is None
    save(tmp_path, 9)
    newest = save(tmp_path, 100)
    save(tmp_path, 20)
    assert latest_checkpoint(tmp_path) == newest


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", "half", "evil"])
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path: Path, damage: bytes | str) -> None:
    good, bad = save(tmp_path, 5), save(tmp_path, 8)
    if damage == "half":
        damage = bad.read_bytes()[: bad.stat().st_size // 2]
    if damage == "evil":
        torch.save({"state_dict": Evil(tmp_path / "executed")}, bad)
    else:
        bad.write_bytes(damage)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match=r"step=8.ckpt cannot be read .*falling back"):
        assert latest_checkpoint(tmp_path) == good
    assert not (tmp_path / "executed").exists()
    good.write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(CheckpointError, match="none of the"):
        latest_checkpoint(tmp_path)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": (i for i in ())}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """torch.load reads on over damage in the numbers; the digest at the end tells."""
    good, bad = save(tmp_path, 5), tmp_path / "step=8.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"x": torch.arange(1000.0)}, "global_step": 8}, bad)
    content = bytearray(bad.read_bytes())
    place = content.find(torch.tensor(500.0).numpy().tobytes())
    content[place] ^= 0x40
    bad.write_bytes(content)
    assert torch.load(bad, weights_only=True)["state_dict"]["x"].shape == (1000,)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert latest_checkpoint(tmp_path) == good


def test_one_of_another_step_or_job_is_found(tmp_path: Path) -> None:
    folder, other = (tmp_path / job / "checkpoints" for job in ("a", "b"))
    good = save(folder, 5)
    places = [folder / "step=8.ckpt", folder / "step=1000000000.ckpt", folder / "step=9.ckpt"]
    for place, source in zip(places, [good, good, save(other, 9)], strict=True):
        place.write_bytes(source.read_bytes())
        with pytest.warns(
            UserWarning, match=f"{place.name} cannot be read .it was truncated or modified, or belongs to another job"
        ):
            assert latest_checkpoint(folder) == good
        place.unlink()
    (tmp_path / "a").rename(tmp_path / "c")  # a job is known by the name of its folder
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(CheckpointError, match="none of the"):
        latest_checkpoint(tmp_path / "c" / "checkpoints")


def test_every_changed_byte_and_every_cut_is_found(tmp_path: Path) -> None:
    good, bad = save(tmp_path, 5), save(tmp_path, 8)
    whole = bad.read_bytes()
    places = range(0, len(whole), max(1, len(whole) // 100))
    damaged = [whole[:place] for place in places]
    damaged += [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in [*places, len(whole) - 1]]
    for content in [*damaged, whole + b"x"]:
        bad.write_bytes(content)
        with pytest.warns(UserWarning, match="cannot be read"):
            assert latest_checkpoint(tmp_path) == good
    bad.write_bytes(whole)
    assert latest_checkpoint(tmp_path) == bad


@pytest.mark.timeout(60)
def test_a_pipe_or_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    good = save(tmp_path, 5)
    os.mkfifo(tmp_path / "step=8.ckpt")
    (tmp_path / "step=9.ckpt").mkdir()
    with pytest.warns(UserWarning, match=r"step=8.ckpt cannot be read \(it is a named pipe, not a file\)"):
        assert latest_checkpoint(tmp_path) == good


def test_only_own_checkpoints_are_removed(tmp_path: Path) -> None:
    """A resumed checkpoint names the files that Lightning asks to remove."""
    (tmp_path / "checkpoints").mkdir()
    foreign = tmp_path / "step=1.ckpt"
    foreign.write_text("mine")
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "checkpoints" / ".." / "step=1.ckpt")
    assert foreign.exists()


# -- while steps go on -------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No checkpoint is put into bytes before this is set."""
    opened, save = threading.Event(), torch.save

    def wait(*args: Any, **options: Any) -> None:
        assert opened.wait(60)
        save(*args, **options)

    monkeypatch.setattr(torch, "save", wait)
    return opened


def test_steps_that_follow_change_nothing_in_it(tmp_path: Path, gate: threading.Event) -> None:
    writer, path = AtomicCheckpointIO(folder=tmp_path), tmp_path / "step=5.ckpt"
    values = torch.arange(8.0).reshape(2, 4)
    moments = {0: {"exp_avg": values.T, "step": torch.tensor(5.0)}}
    state = {"global_step": 5, "state_dict": {"x": values}, "optimizer": moments, "callbacks": {"seen": [1, 2]}}
    writer.save_checkpoint(state, path)
    values.add_(1)
    moments[0]["step"].add_(1)
    state["callbacks"]["seen"].append(3)  # type: ignore[index]
    gate.set()
    writer.teardown()
    assert latest_checkpoint(tmp_path) == path
    saved = torch.load(path, weights_only=True)
    assert torch.equal(saved["state_dict"]["x"], torch.arange(8.0).reshape(2, 4))
    assert torch.equal(saved["optimizer"][0]["exp_avg"], torch.arange(8.0).reshape(2, 4).T)
    assert saved["optimizer"][0]["step"] == 5
    assert saved["callbacks"]["seen"] == [1, 2]


def test_the_bytes_are_those_of_one_that_is_written_at_once(tmp_path: Path) -> None:
    model, path = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)), tmp_path / "step=0.ckpt"
    state = {"global_step": 0, "state_dict": model.state_dict(), "loops": {"a": [1]}}
    contents = []
    for folder in (None, tmp_path):
        writer = AtomicCheckpointIO(folder=folder)
        writer.save_checkpoint(state, path)
        writer.teardown()
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_one_is_written_at_a_time_and_the_two_latest_are_kept(tmp_path: Path, gate: threading.Event) -> None:
    writer = AtomicCheckpointIO(folder=tmp_path)
    started = threading.Event()

    def save_all() -> None:
        for step in (1, 2, 3):
            writer.save_checkpoint({"global_step": step}, tmp_path / f"step={step}.ckpt")
            started.set()

    saving = threading.Thread(target=save_all)
    saving.start()
    assert started.wait(60)
    time.sleep(0.1)
    assert saving.is_alive()  # the second waits for the first
    assert sum(thread.name == "checkpoints" for thread in threading.enumerate()) == 1
    gate.set()
    saving.join()
    writer.teardown()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step=2.ckpt", "step=3.ckpt"]


def test_those_of_later_steps_do_not_push_out_new_ones(tmp_path: Path) -> None:
    """They were there when the render resumed from an earlier one, since something was wrong with them."""
    (tmp_path / "step=9.ckpt").write_bytes(b"damaged")
    (tmp_path / "step=8.ckpt").write_bytes(b"damaged")
    writer = AtomicCheckpointIO(folder=tmp_path)
    for step in (3, 4, 5):
        writer.save_checkpoint({"global_step": step}, tmp_path / f"step={step}.ckpt")
    writer.teardown()
    assert sorted(int(file.stem[5:]) for file in tmp_path.iterdir()) == [4, 5, 8, 9]


def test_what_cannot_be_pickled_ends_no_render(tmp_path: Path, gate: threading.Event) -> None:
    errors = WriteErrors()
    writer = AtomicCheckpointIO(errors, tmp_path)
    writer.save_checkpoint({"global_step": 1, "callbacks": lambda: None}, tmp_path / "step=1.ckpt")
    threading.Timer(0.2, gate.set).start()
    with pytest.warns(UserWarning, match=r"checkpoints: cannot be written \(.*lambda.*\); the run continues"):
        writer.teardown()
    assert errors
    assert list(tmp_path.iterdir()) == []


class Clock(pl.Callback):
    """Each step takes a second by this clock, copying and writing a checkpoint as long as it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, copying: float, writing: float) -> None:
        self.now, self.saved, self.computed = 100.0, list[int](), 0.0

        def computed() -> float:  # asked before and after
            self.computed += writing
            return self.computed

        monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: self.now, thread_time=computed))
        save = AtomicCheckpointIO.save_checkpoint

        def slow(writer: AtomicCheckpointIO, state: dict[str, Any], path: Path) -> None:
            self.saved.append(state["global_step"])
            self.now += copying
            save(writer, state, path)

        monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", lambda *args, **_: slow(*args))

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.strategy.checkpoint_io.teardown()
        self.now += 1


@pytest.mark.parametrize(
    ("copying", "writing", "steps"),
    [
        (0.0, 0.0, [4, 8, 12]),
        (0.04, 0.0, [4, 8, 12]),
        (0.125, 0.0, [4, 11]),
        (0.0, 0.125, [4, 11]),  # on a CPU, where it takes the cores of the steps
        (0.125, 0.125, [4]),
        (0.5, 0.0, [4]),
    ],
)
def test_they_take_two_percent_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, copying: float, writing: float, steps: list[int]
) -> None:
    clock = Clock(monkeypatch, copying, writing * torch.get_num_threads())
    fit(
        15,
        clock,
        StepCheckpoint(tmp_path, 4.0),
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO(folder=tmp_path)],
    )
    assert clock.saved == steps


def test_the_end_of_a_fit_waits_for_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *args, **options: (time.sleep(0.3), save(*args, **options)))
    fit(
        2,
        StepCheckpoint(tmp_path, 1e-6),
        log_every_n_steps=1,
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO(folder=tmp_path)],
    )
    assert latest_checkpoint(tmp_path) == tmp_path / "step=1.ckpt"
