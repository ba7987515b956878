"""Writing checkpoints atomically while steps go on, and finding the latest intact one."""

import contextlib
import copy
import io
import math
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from lightning_fv.errors import CheckpointError, first_line, warn
from lightning_fv.runs.digests import digest
from lightning_fv.runs.files import WriteErrors, read_file, write_atomic

_MARK = b"lightning_fv"
_TRAILER = len(_MARK) + 32
_STEP = re.compile(r"step=(\d+)\.ckpt")

# Time for steps between two checkpoints, as a multiple of the time that a checkpoint takes from them.
_STEPS_PER_CHECKPOINT = 50


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in its own folder, then renames it.

    Lightning's writes to the system's temporary folder and copies: a full disk, or a kill at the wrong moment,
    leaves a truncated file under the final name (Lightning #19970, #21253). On a full disk, existing
    checkpoints stay and the fit goes on.

    A file ends with a digest of its content, its step and the job in whose folder it lies, which `torch.load` skips: a resumed
    render would take over whatever else is in a checkpoint without a complaint, and end with another picture.

    Args:
        errors: where to note that checkpoints cannot be written.
        folder: that of the job's own checkpoints. Those are copied, and a thread writes the copy while steps go on, one at a
            time, until `teardown`; the two latest are kept. Any others are written at once and stay until Lightning removes them.
    """

    def __init__(self, errors: WriteErrors | None = None, folder: Path | None = None) -> None:
        self.errors, self.folder = errors if errors is not None else WriteErrors(), folder
        self.computed = 0.0
        """Seconds that the thread was computing for the last checkpoint."""
        self._thread: threading.Thread | None = None
        self._last_was_written = True

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        path = Path(path)
        if path.parent != self.folder:
            self._last_was_written = self._write(checkpoint, path)
            return
        self.teardown()  # first: two copies may not fit into memory
        self._thread = threading.Thread(
            target=self._write_behind, args=(_snapshot(checkpoint), path), name="checkpoints"
        )
        self._thread.start()

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint outside the job's own, unless the one after it could not be written."""
        # Lightning assumes that every save succeeded: on a full disk it would remove the old ones one by one.
        # A resumed checkpoint names the files; they must not be elsewhere.
        if self._last_was_written and ".." not in Path(path).parts:
            with contextlib.suppress(OSError):  # an extra one does no harm
                Path(path).unlink()

    def teardown(self) -> None:
        """Wait until the last checkpoint is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write_behind(self, checkpoint: dict[str, Any], path: Path) -> None:
        begin = time.thread_time()
        try:
            written = self._write(checkpoint, path)
        except Exception as error:  # such as what cannot be pickled: no reason to lose pictures
            self.errors.add("checkpoints", error)
            return
        finally:
            self.computed = time.thread_time() - begin
        # Those of more steps were there when the job resumed, from an older one: what is wrong with them is not known.
        earlier = [file for file in _by_steps(path.parent) if steps_of(file) <= steps_of(path)]
        for old in earlier[2:] if written else ():  # two, since what ends a run may damage the latest
            with contextlib.suppress(OSError):
                old.unlink()

    def _write(self, checkpoint: dict[str, Any], path: Path) -> bool:
        """Write a checkpoint; whether there was room."""
        # In memory first: torch.save would hide the disk's error behind its own.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        content.write(_trailer(content.getbuffer(), path.parent, int(checkpoint.get("global_step", 0))))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, lambda file: file.write(content.getbuffer()))
        except OSError as error:
            self.errors.add("checkpoints", error)
            return False
        return True


def _snapshot(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A copy on the CPU, which the steps that follow do not change."""
    copies: dict[int, Any] = {}

    def take(value: Any) -> None:
        if isinstance(value, Tensor):
            copies[id(value)] = value.detach().to("cpu", copy=True)
        elif isinstance(value, dict | list | tuple):
            for part in value.values() if isinstance(value, dict) else value:
                take(part)

    take(checkpoint)
    return copy.deepcopy(checkpoint, copies)  # which takes these for the copies it has made already


class StepCheckpoint(Checkpoint):
    """Saves where a render can resume: not in the middle of a step that accumulates batches, whose gradients checkpoints do not
    hold, and not after the last step, when the pictures themselves are written.

    Args:
        folder: where to save.
        seconds: time between two checkpoints; more where they would take more than 2 % of the steps' time.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self._step, self._last, self._taken = 0, time.monotonic(), 0.0

    def next_step(self, step: int) -> float:
        return math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step, self._last = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step or trainer.global_step >= trainer.max_steps:
            return
        self._step = trainer.global_step
        interval = max(self.seconds, _STEPS_PER_CHECKPOINT * (self._taken + _computed(trainer)))
        if trainer.strategy.broadcast(time.monotonic() - self._last >= interval):  # ranks save together
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Save a checkpoint now."""
        begin = time.monotonic()
        trainer.save_checkpoint(self.folder / checkpoint_name(trainer.global_step))
        self._step, self._last = trainer.global_step, time.monotonic()
        self._taken = self._last - begin  # by the copy, and what was left to wait of the write before


def _computed(trainer: pl.Trainer) -> float:
    """Seconds that the writing of the last checkpoint took from steps that are computed on the same cores."""
    writer = trainer.strategy.checkpoint_io
    if not isinstance(writer, AtomicCheckpointIO) or trainer.strategy.root_device.type != "cpu":
        return 0.0
    return writer.computed / torch.get_num_threads()


def save_step(trainer: pl.Trainer) -> None:
    """Save a checkpoint now, if the Trainer keeps any and has steps left to do."""
    if trainer.global_step >= trainer.max_steps:
        return
    own = next((found for found in trainer.checkpoint_callbacks if isinstance(found, StepCheckpoint)), None)
    if own is not None:
        own.save(trainer)
    elif folder := getattr(trainer.checkpoint_callback, "dirpath", None):
        trainer.save_checkpoint(Path(folder) / checkpoint_name(trainer.global_step))


def checkpoint_name(step: int) -> str:
    """The file name of the checkpoint after ``step`` optimizer steps."""
    return f"step={step}.ckpt"


def steps_of(checkpoint: Path) -> int:
    """Optimizer steps done in a checkpoint, from its file name."""
    match = _STEP.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


def latest_checkpoint(folder: Path, before: int | None = None, quiet: bool = False) -> Path | None:
    """The readable checkpoint with the most steps, or None if there are no checkpoints.

    Skipped with a warning are those that are damaged, that something else than `AtomicCheckpointIO` wrote, or that belong to
    another job or step.

    Args:
        folder: where checkpoints are.
        before: consider only those with fewer steps: a fit resumed from the last step would have nothing to do, and
            would write no picture.
        quiet: do not warn.

    Raises:
        CheckpointError: there are checkpoints, and none of them can be read.
    """
    found = [file for file in _by_steps(folder) if before is None or steps_of(file) < before]
    for file in found:
        try:
            content = read_file(file)
            end = len(content) - _TRAILER
            if content[max(end, 0) :] != _trailer(memoryview(content)[:end], folder, steps_of(file)):
                raise ValueError("it was truncated or modified, or belongs to another job or step")
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return file
        except Exception as error:  # what other versions of torch have saved can raise almost any exception
            reason = getattr(error, "strerror", None) or first_line(error)[:80]
        older = "; falling back to the one before it" if file != found[-1] else ""
        if not quiet:
            warn(f"{file} cannot be read ({reason}){older}")
    if found:
        raise CheckpointError(
            f"none of the checkpoints in {folder} can be read; delete the folder to start that job again"
        )
    return None


def _trailer(content: memoryview, folder: Path, step: int) -> bytes:
    """What follows the content of a checkpoint in a job's folder of checkpoints."""
    return _MARK + digest(f"{folder.parent.name} {step} ".encode(), content).encode()


def _by_steps(folder: Path) -> list[Path]:
    """A folder's checkpoints, most steps first."""
    return sorted((file for file in folder.glob("*.ckpt") if _STEP.fullmatch(file.name)), key=steps_of, reverse=True)
