"""Writing checkpoints atomically, and finding the latest intact one."""

import contextlib
import io
import math
import os
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_fv.errors import CheckpointError, first_line, warn
from lightning_fv.runs.digests import digest
from lightning_fv.runs.files import WriteErrors, read_file, write_atomic

_MARK = b"lightning_fv"
_TRAILER = len(_MARK) + 32
_STEP = re.compile(r"step=(\d+)(?:-v\d+)?\.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in its own folder, then renames it.

    Lightning's writes to the system's temporary folder and copies: a full disk, or a kill at the wrong moment,
    leaves a truncated file under the final name (Lightning #19970, #21253). On a full disk, existing
    checkpoints stay and the fit goes on.

    A file ends with a digest of its content, its step and the job in whose folder it lies, which `torch.load` skips: a resumed
    render would take over whatever else is in a checkpoint without a complaint, and end with another picture.

    Args:
        errors: where to note that checkpoints cannot be written.
    """

    def __init__(self, errors: WriteErrors | None = None) -> None:
        self.errors = errors if errors is not None else WriteErrors()
        self._removable: set[Path] = set()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        path = Path(path)
        # In memory first: torch.save would hide the disk's error behind its own.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        content.write(_trailer(content.getbuffer(), path.parent, int(checkpoint.get("global_step", 0))))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, lambda file: file.write(content.getbuffer()))
        except OSError as error:
            self.errors.add("checkpoints", error)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint, but only once two later ones exist."""
        # Lightning assumes that every save succeeded: on a full disk it would remove the old ones one by one.
        if ".." not in Path(path).parts:  # a resumed checkpoint names the files; they must not be elsewhere
            self._removable.add(Path(path))
        for old in list(self._removable):
            if old not in _by_steps(old.parent)[:2]:
                self._removable.discard(old)
                with contextlib.suppress(OSError):  # an extra one does no harm
                    old.unlink()


class StepCheckpoint(ModelCheckpoint):
    """Saves periodically, but only where a render can resume: not in the middle of a step that accumulates batches, whose
    gradients checkpoints do not hold, and not after the last step, when the pictures themselves are written."""

    _step = 0

    def next_step(self, step: int) -> float:
        return math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != self._step and trainer.global_step < trainer.max_steps:
            self._step = trainer.global_step
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


CHECKPOINT_NAME = "{step}"
"""For Lightning's ModelCheckpoint, which turns it into ``step=N.ckpt``."""


def save_step(trainer: pl.Trainer) -> None:
    """Save a checkpoint now, if the Trainer keeps any and has steps left to do."""
    own = next((found for found in trainer.checkpoint_callbacks if isinstance(found, StepCheckpoint)), None)
    folder = getattr(own or trainer.checkpoint_callback, "dirpath", None)
    if folder and trainer.global_step < trainer.max_steps:
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
    """A folder's checkpoints, most steps first; Lightning names a second one at the same step ``-v1``."""
    found = [file for file in folder.glob("*.ckpt") if _STEP.fullmatch(file.name)]
    return sorted(found, key=lambda file: (steps_of(file), file), reverse=True)
