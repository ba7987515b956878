"""Weights as data: no code in them runs, and they are what they were."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_fv.errors import CheckpointError


def read_safetensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file, after its hash if one is known.

    Args:
        path: the file.
        sha256: 64 hex digits it must have.

    Returns:
        Its tensors by name, floating point ones as float32, and its metadata.

    Raises:
        CheckpointError: missing, damaged, or not the file of that hash.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file {path}")
    if sha256 is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise CheckpointError(
                f"{path} is not the file that was published ({path.stat().st_size} bytes, SHA-256 {found[:16]}..., "
                f"expected {sha256[:16]}...); delete it and install the package again"
            )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not a whole safetensors file: {error}"
        ) from None
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}, metadata
