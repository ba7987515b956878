"""Sparse autoencoders of a layer's activations, read as data from files in the formats of several libraries.

The format is told from the names of the tensors; safetensors and files of `torch.save` are both read, by `read_weights`, which
executes nothing in them. With the activation x of C channels at a place and L latents:

| format | tensors | settings |
|---|---|---|
| this package (``scripts/train_sae.py``) | ``W_enc`` (C, L), ``b_enc`` (L,), ``W_dec`` (L, C), ``b_dec`` (C,), with jumprelu ``threshold`` (L,) | the safetensors metadata: ``architecture`` (``topk``, ``relu``, ``jumprelu``), ``k``, ``layer``, ``normalize_activations`` |
| SAELens 6 (and older configs) | the same, ``log_threshold`` in older files | ``cfg.json`` in the same folder |
| ViT-Prisma | the same, also under ``state_dict`` | ``config.json`` in the same folder |
| Overcomplete 0.3 | ``encoder.final_block.0.weight`` (L, C) and ``.bias``, with ``.1.*`` of a BatchNorm1d; or ``encoder.weight``, or ``encoder.tied_to._weights``, with ``encoder.bias``; ``dictionary._weights`` (L, C), or ``C``, ``W``, ``Relax`` of an archetypal one; ``dictionary.multiplier``; ``thresholds`` (logarithms) of a JumpSAE | none: neither k nor what its input was divided by is in the file |

The names and formulas are those of the libraries' own code: SAELens 6.54, ViT-Prisma's ``sae.py``, Overcomplete 0.3.0. A pickled
config inside a ViT-Prisma file is not read. Autoencoders of other kinds (gated, transcoders, matching pursuit, with several layers
or a LayerNorm in the encoder) are refused, and so is input scaled by a number that is not in the file
(``expected_average_only_in``).
"""

import functools
import hashlib
import json
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_fv.errors import CheckpointError
from lightning_fv.networks.demo import ASSETS
from lightning_fv.networks.weights import read_metadata, read_weights

ARCHITECTURES = ("topk", "relu", "jumprelu")
NORMALIZATIONS = ("none", "layer_norm", "constant_norm_rescale")
EMBEDDED = {"demo/vit": ASSETS / "demo_vit_sae.safetensors"}
"""The package's own, by the name of their network."""
MAX_CONFIG = 2**20
"""The largest file of settings, in bytes."""
_CONFIGS = ("cfg.json", "config.json")


@dataclass(frozen=True)
class SparseAutoencoder:
    """A sparse autoencoder: latents ``nonlinearity(normalize(x) @ encoder + bias)``, of which each adds a row of ``decoder`` to
    the reconstruction of x; two are equal if the digests are.

    Attributes:
        digest: of all numbers and settings, 16 hex digits.
        source: its file, for messages.
        encoder: (C, L), float32. What is subtracted from the input, and scales of the output, are already part of it.
        bias: (L,), of the pre-activations; the decoder's bias, where it is subtracted from the input, is already part of it.
        decoder: (L, C).
        architecture: the nonlinearity. ``topk``: the k largest of a place, where above 0 (Gao et al. 2024); ``relu``; ``jumprelu``:
            what is above the latent's threshold (Rajamanoharan et al. 2024); None if the file does not say.
        k: of ``topk``.
        threshold: (L,), of ``jumprelu``.
        normalization: of x at each place, over its C channels. ``layer_norm``: to mean 0 and standard deviation 1;
            ``constant_norm_rescale``: to the length sqrt(C); ``none``.
        tokens: from which of the tokens to which it was trained on: (0, None) for all, (0, 1) for the class token, (1, None) for the
            others.
        layer: the name of the layer in its network, None if the file does not give it.
        hook_point: how SAELens or ViT-Prisma call the layer, for messages.
    """

    digest: str
    source: str = field(compare=False)
    encoder: Tensor = field(compare=False, repr=False)
    bias: Tensor = field(compare=False, repr=False)
    decoder: Tensor = field(compare=False, repr=False)
    architecture: str | None = field(default=None, compare=False)
    k: int | None = field(default=None, compare=False)
    threshold: Tensor | None = field(default=None, compare=False, repr=False)
    normalization: str = field(default="none", compare=False)
    tokens: tuple[int, int | None] = field(default=(0, None), compare=False)
    layer: str | None = field(default=None, compare=False)
    hook_point: str | None = field(default=None, compare=False)

    @property
    def latents(self) -> int:
        """L, how many latents it has."""
        return len(self.bias)

    def pre_activations(self, x: Tensor) -> Tensor:
        """All latents before the nonlinearity, (..., L), for activations (..., C) on the same device, float32."""
        found: Tensor = normalize(x, self.normalization) @ self.encoder + self.bias
        return found

    def active(self, pre_activations: Tensor) -> Tensor:
        """Which of the latents pass the nonlinearity, bool (..., L), for all pre-activations (..., L) of each place.

        Raises:
            CheckpointError: the file does not say which nonlinearity it has.
        """
        if self.architecture is None:
            raise CheckpointError(
                f"{self.source} does not say which nonlinearity its latents have (nor k); use their pre-activations"
            )
        active = pre_activations > 0
        if self.k is not None:
            active &= pre_activations >= pre_activations.topk(self.k, dim=-1).values[..., -1:]
        if self.threshold is not None:
            active &= pre_activations > self.threshold
        return active

    def to(self, device: torch.device) -> "SparseAutoencoder":
        """The same on a device. The last one is remembered, since every step needs it."""
        return self if self.encoder.device == device else _moved(self, device)


def normalize(x: Tensor, kind: str) -> Tensor:
    """Activations (..., C) as an encoder was trained on them, (..., C); see ``normalization`` of `SparseAutoencoder`."""
    if kind == "layer_norm":
        x = x - x.mean(-1, keepdim=True)
        # Divided by C - 1, and with 1e-5 added, as in SAELens; 1e-12 keeps the gradient finite where all channels are equal.
        return x / ((x.var(-1, keepdim=True) + 1e-12).sqrt() + 1e-5)
    if kind == "constant_norm_rescale":
        scale: Tensor = x.shape[-1] ** 0.5 / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return x * scale
    return x


@functools.lru_cache(maxsize=1)
def _moved(autoencoder: SparseAutoencoder, device: torch.device) -> SparseAutoencoder:
    with torch.inference_mode(False):  # a tensor made in inference mode could not be saved for a later backward pass
        threshold = None if autoencoder.threshold is None else autoencoder.threshold.to(device)
        encoder, bias, decoder = (
            part.to(device) for part in (autoencoder.encoder, autoencoder.bias, autoencoder.decoder)
        )
    return replace(autoencoder, encoder=encoder, bias=bias, decoder=decoder, threshold=threshold)


def read_sparse_autoencoder(path: str | Path) -> SparseAutoencoder:
    """The sparse autoencoder of a file, in a format of the module's table, or the package's own of the network ``demo/vit``. A file
    that has not been touched is read once.

    Raises:
        CheckpointError: the file cannot be read, or is in none of the formats, or its numbers are not finite or do not fit each
            other, or its settings are missing or not supported.
    """
    path = EMBEDDED.get(str(path)) or Path(path)
    return _read(path, tuple(_stamp(file) for file in (path, *(path.with_name(name) for name in _CONFIGS))))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # the latter for a null character
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@functools.lru_cache(maxsize=2)
def _read(path: Path, stamps: tuple[tuple[int, ...], ...]) -> SparseAutoencoder:
    state = read_weights(path)
    if "W_enc" in state:
        parts = _of_saelens(path, state)
    elif any(name.startswith("dictionary.") for name in state):
        parts = _of_overcomplete(path, state)
    else:
        raise CheckpointError(
            f"{path} is no sparse autoencoder: it has neither W_enc, as those of SAELens and ViT-Prisma, nor dictionary._weights, "
            f"as those of Overcomplete, but {', '.join(sorted(state)[:5])}"
        )
    for name, value in (state | parts).items():  # first those of the file, then what they give
        if isinstance(value, Tensor) and not bool(value.isfinite().all()):
            raise CheckpointError(f"{path} has numbers in its {name} that are NaN or infinite")
    whole = hashlib.blake2b(digest_size=8)
    for name, value in sorted(parts.items()):
        is_tensor = isinstance(value, Tensor)
        whole.update(repr((name, tuple(value.shape) if is_tensor else value)).encode())
        whole.update(value.numpy().tobytes() if is_tensor else b"")
    return SparseAutoencoder(whole.hexdigest(), str(path), **parts)


def _of_saelens(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    own = read_metadata(path)
    config = own if "architecture" in own else _config(path)
    logarithms = {"threshold": "log_threshold"} if "log_threshold" in state else {}
    architecture, k = _nonlinearity(path, config)
    width, latents = _shape(path, state, "W_enc")
    shapes = {"W_enc": (width, latents), "b_enc": (latents,), "W_dec": (latents, width), "b_dec": (width,)}
    if architecture == "jumprelu":
        shapes[logarithms.get("threshold", "threshold")] = (latents,)
    _check(path, state, shapes, ignored={"scaling_factor"})  # the latter only scales the latents in the reconstruction
    if k is not None and not 1 <= k <= latents:
        raise CheckpointError(f"{path} has {latents} latents, and settings with k={k}")
    encoder, bias, decoder = state["W_enc"], state["b_enc"], state["W_dec"]
    if config.get("apply_b_dec_to_input", True):
        bias = bias - state["b_dec"] @ encoder
    if config.get("rescale_acts_by_decoder_norm", False):
        encoder, bias = encoder * decoder.norm(dim=1), bias * decoder.norm(dim=1)
    threshold = None
    if architecture == "jumprelu":
        threshold = state["log_threshold"].exp() if logarithms else state["threshold"]
    return {
        "encoder": encoder.contiguous(),
        "bias": bias,
        "decoder": decoder.contiguous(),
        "architecture": architecture,
        "k": k,
        "threshold": threshold,
        "normalization": _normalization(path, config),
        "tokens": (0, 1) if config.get("cls_token_only") else (int(bool(config.get("use_patches_only"))), None),
        "layer": own.get("layer"),
        "hook_point": _hook_point(config),
    }


def _nonlinearity(path: Path, config: Mapping[str, Any]) -> tuple[str, int | None]:
    """The architecture, and k of a ``topk``."""
    name, function = (
        config.get("architecture", "standard"),
        config.get("activation_fn_str", config.get("activation_fn")),
    )
    if name == "standard":
        name = {None: "relu", "relu": "relu", "topk": "topk"}.get(function, f"standard with {function}")
    if name not in ARCHITECTURES or config.get("is_transcoder"):
        what = "transcoder" if config.get("is_transcoder") else name
        raise CheckpointError(
            f"{path} is a sparse autoencoder of the kind {what!r:.99}; {', '.join(ARCHITECTURES)} are read"
        )
    if name != "topk":
        return name, None
    arguments = config.get("activation_fn_kwargs")
    k: Any = config.get("k", arguments.get("k") if isinstance(arguments, Mapping) else None)
    try:
        return name, int(k)
    except (TypeError, ValueError):
        raise CheckpointError(f"{path} is a topk autoencoder, whose settings need a number k, not {k!r:.99}") from None


def _normalization(path: Path, config: Mapping[str, Any]) -> str:
    name = config.get("normalize_activations") or "none"
    if name not in NORMALIZATIONS:
        reason = (
            "needs a scale that is not in the file" if name in (True, "expected_average_only_in") else "is not known"
        )
        raise CheckpointError(
            f"{path} has normalize_activations: {name!r:.99}, which {reason}; {', '.join(NORMALIZATIONS)} are read"
        )
    return str(name)


def _hook_point(config: Mapping[str, Any]) -> str | None:
    inner = config.get("metadata")
    for source in (inner if isinstance(inner, Mapping) else {}, config):
        for name in ("hook_name", "hook_point"):
            if isinstance(source.get(name), str):
                return str(source[name])[:200]
    if "hook_point_layer" in config and "layer_subtype" in config:
        return f"blocks.{config['hook_point_layer']}.{config['layer_subtype']}"[:200]
    return None


def _of_overcomplete(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    if "dictionary._weights" in state:
        latents, width = _shape(path, state, "dictionary._weights")
        shapes: dict[str, tuple[int, ...]] = {"dictionary._weights": (latents, width)}
        decoder = state["dictionary._weights"]
    else:  # archetypal: combinations of points (Fel et al. 2025)
        (latents, points), (_, width) = _shape(path, state, "dictionary.W"), _shape(path, state, "dictionary.C")
        shapes = {
            "dictionary.W": (latents, points),
            "dictionary.C": (points, width),
            "dictionary.Relax": (latents, width),
        }
        _check(path, {name: value for name, value in state.items() if name in shapes}, shapes)
        decoder = state["dictionary.W"] @ state["dictionary.C"] + state["dictionary.Relax"]
    shapes["dictionary.multiplier"] = ()
    ignored = {"encoder.final_block.1.num_batches_tracked"}
    if "encoder.tied_to._weights" in state:
        weight = "encoder.tied_to._weights"
        ignored |= {"encoder.tied_to.multiplier"}
    else:
        weight = "encoder.weight" if "encoder.weight" in state else "encoder.final_block.0.weight"
    shapes[weight] = (latents, width)
    first = "encoder.final_block.0.bias" if weight.startswith("encoder.final_block") else "encoder.bias"
    batch_norm = [f"encoder.final_block.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    present = [first, *batch_norm] if batch_norm[2] in state else [first] if first in state else []
    shapes |= dict.fromkeys((*present, *(["thresholds"] if "thresholds" in state else [])), (latents,))
    _check(path, state, shapes, ignored)
    encoder, bias = state[weight], state.get(first, torch.zeros(latents))
    if weight == "encoder.tied_to._weights":
        encoder = encoder * state["dictionary.multiplier"].exp()
    if batch_norm[2] in state:
        scale, shift, mean, variance = (state[name] for name in batch_norm)
        scale = scale / (variance + 1e-5).sqrt()
        encoder, bias = encoder * scale[:, None], (bias - mean) * scale + shift
    return {
        "encoder": encoder.T.contiguous(),
        "bias": bias,
        "decoder": decoder * state["dictionary.multiplier"].exp(),
        "architecture": "jumprelu" if "thresholds" in state else None,
        "threshold": state["thresholds"].exp() if "thresholds" in state else None,
    }


def _shape(path: Path, state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    if name not in state or state[name].ndim != 2 or not state[name].numel():
        found = f"has the shape {tuple(state[name].shape)}" if name in state else "is missing"
        raise CheckpointError(
            f"{path} is no sparse autoencoder that can be read: its {name} {found}, and a matrix is needed"
        )
    return int(state[name].shape[0]), int(state[name].shape[1])


def _check(
    path: Path, state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], ignored: Collection[str] = ()
) -> None:
    for name, shape in shapes.items():
        if name not in state:
            raise CheckpointError(f"{path} is no sparse autoencoder that can be read: its {name} is missing")
        if tuple(state[name].shape) != shape or not state[name].is_floating_point():
            found = f"{state[name].dtype} {tuple(state[name].shape)}".removeprefix("torch.")
            raise CheckpointError(
                f"{path}: its {name} is {found}, and has to be floating point {shape} to fit the others"
            )
    if unknown := sorted(set(state) - set(shapes) - set(ignored)):
        raise CheckpointError(
            f"{path} is a sparse autoencoder of a kind that is not read: it also has {', '.join(unknown[:5])}"
        )


def _config(path: Path) -> dict[str, Any]:
    """The settings beside a file of SAELens or ViT-Prisma."""
    file = next((path.with_name(name) for name in _CONFIGS if path.with_name(name).exists()), None)
    if file is None:
        raise CheckpointError(
            f"{path} does not say how its input is normalised: put its cfg.json (SAELens) or config.json (ViT-Prisma) into the same "
            "folder"
        )
    try:
        if not stat.S_ISREG(os.stat(file).st_mode) or os.stat(file).st_size > MAX_CONFIG:
            raise ValueError("it is not a file of settings")
        config = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise CheckpointError(f"cannot read {file}, the settings of {path.name}: {reason}") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"cannot read {file}, the settings of {path.name}: it is no mapping")
    return config
