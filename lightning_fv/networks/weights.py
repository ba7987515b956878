"""Reading weights as data, so that nothing in a file is executed, and loading them strictly."""

import os
import stat
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from lightning_fv.errors import CheckpointError, note
from lightning_fv.networks.download import hash_mismatch
from lightning_fv.networks.torch_file import read_content, read_tensors
from lightning_fv.networks.torch_pickle import StoredTensor, Unread


def read_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a network; the hash is checked before anything is parsed, and no code in the file runs.

    The format, safetensors or that of `torch.save`, is detected from the content. Tensors under ``state_dict`` or ``model``
    are unwrapped, and a ``module.`` prefix of all names (left by `torch.nn.DataParallel`) is dropped. Nothing else in the file
    is read. All sizes are checked against the file's before memory is taken.

    Args:
        path: the file.
        sha256: its expected digest, 64 hex digits or at least the first 8. Without it a changed byte may go unnoticed:
            the readers verify no checksum.

    Returns:
        Its tensors by name in the order of the file, on the CPU, floating point ones as float32. A plain dict: with the
        version metadata of torch's state dicts, files older than ``num_batches_tracked`` would not load.

    Raises:
        CheckpointError: missing, damaged, not the file of that hash, with sizes that are not the file's, or no dict of dense
            tensors (the message names what else it holds).
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a device or pipe may never end
            raise CheckpointError(f"cannot read the weights file {path}: it is not a file; check its path")
        with open(path, "rb") as file:
            subject = f"{path} ({os.fstat(file.fileno()).st_size} bytes)"
            if sha256 is not None and (mismatch := hash_mismatch(file, sha256)):
                raise CheckpointError(
                    f"{subject} is not the published file: {mismatch}; {_remedy(file, 'delete it and download it again')}"
                )
            file.seek(8)
            is_safetensors = file.read(1) == b"{"  # after the length of the header, 8 bytes
            try:
                tensors = _state(_read_safetensors(path) if is_safetensors else read_content(file).value, subject)
                stored = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, StoredTensor)}
                state: dict[str, Tensor] = tensors | read_tensors(file, stored)
            except CheckpointError:
                raise
            except Exception as error:  # a damaged pickle can raise nearly anything
                remedy = _remedy(
                    file, "download it again, or ask its author for a file with only the state_dict's tensors"
                )
                raise CheckpointError(f"{subject} cannot be read as weights: {_reason(error)}; {remedy}") from None
    except (OSError, ValueError) as error:  # the latter for a null character
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"cannot read the weights file {path}: {reason}; check its path") from None
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """The text metadata of a safetensors file; empty for another format. For files that `read_weights` has checked."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError:
        return {}


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    architecture: str | None = None,
    names: int | None = None,
) -> None:
    """Load all of ``state`` into ``module``, or nothing.

    Only ``num_batches_tracked`` of batch normalisations may be missing, as in files from before torch 0.4.1; they become
    zero, and matter only for training. If the names fit without what all of them begin with, such as the ``model.`` of a
    LightningModule, they are loaded without it, and a note says so.

    Args:
        module: changed in place; unchanged if this fails.
        state: its tensors by name.
        source: what to call the state in an error, such as the path of its file.
        architecture: the module's name for `load_checkpoint`, if another number of classes can be asked for there.
        names: how many class names were given, if the module was built with as many classes.

    Raises:
        CheckpointError: names are missing, unexpected, or of another shape: how many, and the first 5 of each; or numbers
            are not real ones where the module's are.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    if prefix := _prefix(own, state):
        note(f"lightning-fv: {source}: all names begin with {prefix!r}, which is left out")
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    zeros = {name: torch.zeros_like(value) for name, value in own.items() if name.endswith("num_batches_tracked")}
    wanted = {**zeros, **state}
    before = {name: value.detach().clone() for name, value in own.items()}
    try:
        for name, value in own.items():  # torch would drop imaginary parts, and take quantized numbers for weights
            given = wanted.get(name, value)
            if (value.is_floating_point() and not given.is_floating_point()) or given.is_complex() > value.is_complex():
                raise ValueError(f"{name} is {given.dtype} instead of {value.dtype}")
        # Not refused by comparing names first: some modules, such as torchvision's ViT, convert older names themselves.
        module.load_state_dict(wanted, strict=True)
    except Exception as error:  # whatever it is, the tensors before the one that failed are already overwritten
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(before[name])
        classes = _other_classes(own, wanted)
        if names is not None and classes is not None:
            raise CheckpointError(
                f"{source} has {classes} classes, but there are {names} class name{'s' * (names != 1)}; give {classes} names "
                "(--categories), in the order of the logits, or none"
            ) from None
        reason = misfits(module, wanted) or _reason(error)
        remedy = "choose the architecture that these weights were made for"
        if architecture is not None and classes is not None:
            remedy = (
                f"it has {classes} classes: load it by --network checkpoint:{source} --architecture {architecture}, with the --mean and "
                "--std that it was trained with"
            )
        raise CheckpointError(f"{source} does not fit {type(module).__name__}: {reason}; {remedy}") from None


def _prefix(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What all names of a state begin with, if the rest are the names of a module; empty if there is no such thing."""
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    first = min(needed, default="")
    for prefix in (name.removesuffix(first) for name in state if first and name.endswith(f".{first}")):
        if all(name.startswith(prefix) for name in state):
            names = {name.removeprefix(prefix) for name in state}
            if needed <= names <= own.keys():
                return prefix
    return ""


def _other_classes(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int | None:
    """How many classes a state has, if it is a module's but for the first axis of the last layer; else None."""
    differing = [name for name in own if name not in state or state[name].shape != own[name].shape]
    if state.keys() != own.keys() or len({name.rpartition(".")[0] for name in differing}) != 1:
        return None
    counts = {len(state[name]) if state[name].shape[1:] == own[name].shape[1:] else None for name in differing}
    return counts.pop() if len(counts) == 1 else None


def misfits(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Where the names and shapes of a state differ from a module's: how many are missing, unexpected or of another shape, and
    the first 5 of each; empty if they do not differ."""
    own = {name: tuple(value.shape) for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    given = {name: tuple(value.shape) for name, value in state.items()}
    differences = {
        "missing": [name for name in own if name not in given],
        "unexpected": [name for name in given if name not in own],
        "of another shape": [
            f"{name}: {given[name]} for {shape}" for name, shape in own.items() if given.get(name, shape) != shape
        ],
    }
    return ", ".join(
        f"{len(names)} {what} ({', '.join(name[:99] for name in names[:5])}{', ...' if len(names) > 5 else ''})"
        for what, names in differences.items()
        if names
    )


def _read_safetensors(path: Path) -> object:
    with safe_open(path, framework="pt") as file:
        names = getattr(file, "offset_keys", file.keys)()  # before safetensors 0.5 there is only the sorted order
        return {name: file.get_tensor(name) for name in names}


def _reason(error: Exception) -> str:
    """The first sentence of an error's message, or its type."""
    if isinstance(error, EOFError):
        return "it ends too early"
    sentence = str(error).strip().partition("\n")[0].partition(". ")[0][:200]
    return sentence if isinstance(error, ValueError | RuntimeError) and sentence else type(error).__name__


def _remedy(file: BufferedReader, otherwise: str) -> str:
    """What to do about a file that is not weights; ``otherwise`` if it does not look like anything well known."""
    file.seek(0)
    start = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return "it is empty: download it again"
    if start.startswith(b"<"):
        return "it looks like an HTML page, such as a login page: download it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer instead of the file: run `git lfs pull` in its repository"
    if start.startswith(b"PK") and not zipfile.is_zipfile(file):
        return "it is a truncated zip file of torch.save: download it again"
    return otherwise


def _state(content: object, subject: str) -> dict[str, Any]:
    """The state dict in the content of a file: tensors, or what describes them, by name."""
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping):
        others = [f"it is a {_kind(content)}"]
    else:
        others = [
            f"{name!r}: {_kind(value)}"
            for name, value in content.items()
            if not isinstance(value, Tensor | StoredTensor)
        ]
        others += [f"the name {name!r}" for name in content if not isinstance(name, str)]
        others += [] if content else ["it is empty"]
        state = dict(content)
    if others:
        what = ", ".join(others[:5])[:300]
        raise CheckpointError(
            f"{subject} does not hold a dict of tensors ({what}); save only the network's state_dict()"
        )
    if all(name.startswith("module.") for name in state):
        consume_prefix_in_state_dict_if_present(state, "module.")
    return state


def _kind(value: object) -> str:
    if isinstance(value, Unread):
        return f"{value.name}, which is not read"
    return "Tensor" if isinstance(value, StoredTensor) else type(value).__name__
