"""Targets that are latents of a sparse autoencoder in a file: ``sae:FILE:LATENT@LAYER``."""

import re

from lightning_fv.errors import TargetError
from lightning_fv.networks.sparse_autoencoder import EMBEDDED, read_sparse_autoencoder
from lightning_fv.objectives import SAELatent
from lightning_fv.objectives.sae_latent import READINGS
from lightning_fv.targets.vectors import parse_indices

_LATENTS = re.compile(
    rf"(?P<kind>\w+):(?P<file>{'|'.join(EMBEDDED)}|.+?\.(?:safetensors|pt|pth|bin|ckpt))(?::(?P<latents>[^@:]+))?(?:@(?P<layer>[^@]+))?"
)


def parse_latents(text: str) -> list[SAELatent]:
    """The latents of a text.

    Args:
        text: ``sae:FILE:12``, or ``sae:FILE:12@LAYER`` if the file does not name its layer; for several latents ``:0-7``, ``:0,3`` or
            ``:all``. ``sae:demo/vit:12`` is one of the package's own autoencoder. ``sae_activation:`` reads them after the nonlinearity, ``sae_decoder:`` is the direction in the decoder.

    Raises:
        CheckpointError: the file cannot be read.
        TargetError: it cannot be parsed, or does not exist.
    """
    match = _LATENTS.fullmatch(text)
    if match is None or match["kind"] not in READINGS:
        raise TargetError(
            f"cannot read the target {text[:200]!r}; write sae:FILE:LATENT, or sae:FILE:LATENT@LAYER for a file that names no layer, "
            "FILE ending in .safetensors or .pt, or demo/vit"
        )
    count = read_sparse_autoencoder(match["file"]).latents
    if match["latents"] is None:
        raise TargetError(
            f"{text[:200]!r} names no latent; there are 0 to {count - 1}: {match['kind']}:{match['file']}:0"
        )
    latents = parse_indices(match["latents"], count, "latents")
    return [SAELatent(match["file"], latent, match["layer"], READINGS[match["kind"]]) for latent in latents]
