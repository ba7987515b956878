"""Stopping between two steps."""

import signal
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_fv.callbacks import GracefulStop
from tests.callbacks.fits import fit


def at_call(number: int) -> tuple[Callable[[], int | None], list[int]]:
    """Asks for a stop when it is called for the given time; and a list of its calls."""
    calls: list[int] = []

    def asked() -> int | None:
        calls.append(len(calls) + 1)
        return signal.SIGTERM if len(calls) == number else None

    return asked, calls


def keep(folder: Path) -> ModelCheckpoint:
    """Keeps checkpoints in the folder, and makes none itself in renders this short."""
    return ModelCheckpoint(folder, every_n_train_steps=1000)


def test_a_stop_is_after_the_step_and_leaves_a_checkpoint_of_it(tmp_path: Path) -> None:
    asked, _ = at_call(2)
    stop = GracefulStop(asked)
    trainer = fit(5, stop, keep(tmp_path), enable_checkpointing=True)
    assert trainer.global_step == 2
    assert stop.received == signal.SIGTERM
    assert [file.name for file in tmp_path.iterdir()] == ["step=2.ckpt"]
    never, calls = at_call(0)
    again = GracefulStop(never)
    resumed = fit(5, again, keep(tmp_path), checkpoint=str(tmp_path / "step=2.ckpt"), enable_checkpointing=True)
    assert resumed.global_step == 5
    assert (len(calls), again.received) == (3, None)


def test_batches_of_one_step_are_not_parted() -> None:
    asked, calls = at_call(2)
    trainer = fit(5, GracefulStop(asked), accumulate_grad_batches=3)
    assert (trainer.global_step, calls) == (2, [1, 2])


def test_a_stop_at_the_last_step_is_the_end(tmp_path: Path) -> None:
    """Its pictures are finished: a checkpoint would be in the way of nothing but them."""
    asked, _ = at_call(3)
    assert fit(3, GracefulStop(asked), keep(tmp_path), enable_checkpointing=True).global_step == 3
    assert list(tmp_path.iterdir()) == []


def test_a_trainer_that_keeps_no_checkpoints_is_stopped_too() -> None:
    asked, _ = at_call(1)
    assert 1 <= fit(50, GracefulStop(asked)).global_step <= 12  # where a block of steps ends, at the latest a stage
