"""Checkpoints that are whole, and finding the last of them."""

import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_fv.errors import CheckpointError
from lightning_fv.files import write_atomic

_STEP = re.compile(r"step=(\d+)(?:-v\d+)?\.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints into their own folder and renames them there.

    Lightning's goes through the system's temporary folder and copies: a full disk, or a kill at the wrong moment,
    leaves a truncated file under the final name (Lightning #19970, #21253).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: torch.save(checkpoint, file))


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the most steps that can be read, or None if there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        CheckpointError: there are checkpoints, and none of them can be read.
    """
    found = {int(match[1]): file for file in folder.glob("*.ckpt") if (match := _STEP.fullmatch(file.name))}
    for step in sorted(found, reverse=True):
        try:
            with zipfile.ZipFile(found[step]) as archive:  # torch itself does not look at the checksums
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"{damaged} has another checksum")
            checkpoint = torch.load(found[step], map_location="cpu", weights_only=True)
            if isinstance(checkpoint, Mapping) and "state_dict" in checkpoint:
                return found[step]
            reason = "it holds no state_dict"
        except Exception as error:  # damage shows itself as almost any exception
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"
        older = "; going back to the one before" if step > min(found) else ""
        warnings.warn(f"{found[step]} cannot be read ({reason}){older}", stacklevel=2)
    if found:
        raise CheckpointError(
            f"none of the checkpoints in {folder} can be read; delete the folder to start that job anew"
        )
    return None
