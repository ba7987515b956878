"""A latent of a sparse autoencoder."""

import copy
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lightning_fv.errors import TargetError
from lightning_fv.functional import constant, on_device
from lightning_fv.networks.sparse_autoencoder import EMBEDDED, normalize, read_sparse_autoencoder
from lightning_fv.objectives.base import Activations, Objective
from lightning_fv.objectives.direction import at_places, checked_position
from lightning_fv.objectives.facets import FACETS
from lightning_fv.objectives.unit import index_of

READINGS = {"sae": "pre_activation", "sae_activation": "activation", "sae_decoder": "decoder"}
"""The word before the colon of a target's text, and the reading that it stands for."""


class SAELatent(Objective):
    """A latent of a sparse autoencoder of a layer (Gao et al. 2024, "Scaling and evaluating sparse autoencoders").

    The mean over positions, or tokens, of one of three readings:

    - ``pre_activation``: what the encoder computes before the nonlinearity. For noise, a latent is inactive almost everywhere: TopK
      keeps, for example, 32 of thousands at each position, ReLU and JumpReLU only those above a threshold. An inactive latent's
      activation is 0 and has no gradient, while its pre-activation has one everywhere; where the latent is active, both are equal.
    - ``activation``: after the nonlinearity. With TopK, the latents at a position compete: there is a gradient only where the latent
      is among the k largest, and it does not suppress the others. For pictures in which the latent is already active, such as
      photos to start from.
    - ``decoder``: the layer's activation along the latent's row of the decoder, as with `Direction`: what the latent writes rather
      than what it detects.

    Args:
        autoencoder: a file, or ``demo/vit``; see `lightning_fv.networks.sparse_autoencoder` for the formats.
        latent: the index of the latent, from 0.
        layer: layer name; its output is (B, C), (B, C, T) or (B, C, H, W). None if the file names the layer.
        reading: ``pre_activation``, ``activation`` or ``decoder``.
        position: (row, column) of a map, or (token,); None for the mean over all, or over those that the autoencoder was trained on.
        digest: the autoencoder's expected ``digest``; a file with any other autoencoder is refused.

    Raises:
        CheckpointError: the file cannot be read.
        TargetError: it has no such latent, names no layer, or does not match the digest.
    """

    def __init__(
        self,
        autoencoder: str | Path,
        latent: int,
        layer: str | None = None,
        reading: str = "pre_activation",
        position: Sequence[int] | None = None,
        digest: str | None = None,
    ) -> None:
        found = read_sparse_autoencoder(autoencoder)
        self.latent = index_of(latent)
        if not 0 <= self.latent < found.latents:
            raise TargetError(f"{autoencoder} has no latent {latent}; there are 0 to {found.latents - 1}")
        if reading not in READINGS.values():
            raise TargetError(f"the reading of a latent is one of {', '.join(READINGS.values())}, not {reading!r}")
        if digest is not None and digest != found.digest:
            raise TargetError(f"{autoencoder} has changed: its digest is {found.digest}, not {digest}")
        if layer is None and found.layer is None:
            hint = f" (it was trained on {found.hook_point})" if found.hook_point else ""
            raise TargetError(
                f"{autoencoder} names no layer of the network{hint}; give it: sae:{autoencoder}:{latent}@LAYER, with a name that "
                "`lightning-fv layers NETWORK` lists"
            )
        self.autoencoder, self.reading, self.digest = str(autoencoder), reading, found.digest
        self.layer: str = layer or found.layer or ""
        self.position = checked_position(position, "SAELatent")
        self._named_by_file, self._tokens = self.layer == found.layer, found.tokens
        self._normalization = "none" if reading == "decoder" else found.normalization
        if reading == "decoder":
            row = found.decoder[latent]
            self._weight, self._bias = row / row.norm().clamp(min=1e-12), torch.zeros(())
        else:  # a copy: a view of the matrix would be pickled with all of it
            self._weight, self._bias = found.encoder[:, latent].clone(), found.bias[latent].clone()
        self._competing = found if reading == "activation" else None
        self._latents: tuple[int, ...] = (self.latent,)
        if reading == "activation":
            found.active(found.bias)  # raises if the nonlinearity is not known

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((self.layer,))

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        found = activations[self.layer].float()
        weight, bias = (on_device(part, found.device) for part in (self._weight, self._bias))
        if found.shape[1] != weight.shape[-1]:
            raise TargetError(
                f"layer {self.layer} has {found.shape[1]} channels, and the autoencoder {self.autoencoder} is one of "
                f"{weight.shape[-1]} channels; {self.remedy}"
            )
        places = at_places(found, self.layer, self.position).movedim(1, 2)  # (B, places, C)
        if self.position is None and found.ndim == 3:
            places = places[:, slice(*self._tokens)]
        read = normalize(places, self._normalization)
        value = torch.einsum("bpc,bc->bp", read, weight.expand(len(read), -1)) + bias.reshape(-1, 1)
        if self._competing is not None:
            value = value * self._passes(places)
        return value.mean(1)

    @property
    def remedy(self) -> str:
        """What to do where the layer is another network's, for messages."""
        if self.autoencoder in EMBEDDED:
            return f"choose the network that it was trained on: {self.autoencoder} (--network {self.autoencoder})"
        return "choose the network and the layer that it was trained on"

    def _passes(self, places: Tensor) -> Tensor:
        """Where the latent of each picture is active, bool (B, P), for activations (B, P, C)."""
        assert self._competing is not None
        autoencoder = self._competing.to(places.device)
        with torch.no_grad():
            active = autoencoder.active(autoencoder.pre_activations(places))
            latents = constant(self._latents, places.device, torch.long).expand(len(places))
            return active.gather(2, latents[:, None, None].expand(-1, active.shape[1], 1))[..., 0]

    def text(self, categories: Sequence[str] = ()) -> str:
        return self._target_text or repr(self)

    @property
    def file_stem(self) -> str | None:
        if self._target_text is None:
            return None
        reading = "" if self.reading == "pre_activation" else f"-{self.reading}"
        # Many files are called sae_weights.safetensors: part of the digest distinguishes them.
        return f"sae-{self.layer}-{self.latent:04d}{reading}-{self.digest[:6]}"

    @property
    def _target_text(self) -> str | None:
        """``sae:FILE:LATENT@LAYER``, if that can be read back."""
        kind = next(word for word, reading in READINGS.items() if reading == self.reading)
        text = f"{kind}:{self.autoencoder}:{self.latent}{'' if self._named_by_file else f'@{self.layer}'}"
        readable = "+" not in text and "@" not in self.layer and text == text.strip() and not FACETS.fullmatch(text)
        return text if readable and self.position is None else None

    @property
    def stack_key(self) -> Hashable:
        if type(self) is not SAELatent:  # it may compute something else
            return super().stack_key
        return SAELatent, self.layer, self.reading, self.position, self.digest

    def stacked(self, objectives: Sequence[Self]) -> Objective:
        stack = copy.copy(self)
        stack._weight = torch.stack([objective._weight for objective in objectives])
        stack._bias = torch.stack([objective._bias for objective in objectives])
        stack._latents = tuple(objective.latent for objective in objectives)
        return stack
