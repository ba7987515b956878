"""How far a picture's activations are from the pattern that photos of the unit have in common."""

import copy
import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_fv.errors import UsageError
from lightning_fv.functional import constant, on_device
from lightning_fv.networks import VisionNetwork
from lightning_fv.networks.weights import read_metadata, read_weights
from lightning_fv.objectives.base import Activations, Objective
from lightning_fv.objectives.channel import Channel
from lightning_fv.objectives.direction import LEAST_COSINE, Direction
from lightning_fv.objectives.sae_latent import SAELatent

COVARIANCES = Path(__file__).parents[1] / "assets" / "photo_covariances.safetensors"
"""Means and covariances of the embedded networks ``demo`` and ``demo/vit``, measured by ``scripts/measure_covariances.py``."""

PARTS = "mean", "std", "correlation"


class Pattern(Objective):
    """A penalty: how far from 1 is the cosine between a picture's activations and its unit's pattern in photos.

    A unit that reads a layer as w·a, such as a channel, a direction, or a latent before its nonlinearity, is a filter. What comes
    with it in photos is another direction, its pattern S w, with the covariance S of activations over photos (Haufe et al. 2014,
    "On the interpretation of weight vectors of linear models in multivariate neuroimaging"; Kindermans et al. 2018, "Learning how to
    explain neural networks: PatternNet and PatternAttribution"). A filter also cancels what would distract the unit, and says
    nothing of activations that it does not read: in a picture made for it alone, they may be unlike those of any photo. With the mean
    activation m of each channel over the picture's places, in units of its standard deviation over photos from its mean over them,
    and the pattern p in the same units,

        d = 1 - max(cos(m, p), 0.1)^power

    in the layer that the unit reads. It multiplies the objective o, so that o cos(m, p)^power is maximized, as with the cosine power of
    `Direction` (Carter et al. 2019, "Activation Atlas"), where the cosine is that with the filter.

    The risk: the picture shows what photos that excite the unit are like, not only what the unit asks for. What a photo of the unit
    usually has beside it, such as a background, is in the pattern, and so in the picture.

    Args:
        power: how much the pattern matters, at least 0.
        covariances: a file made by ``scripts/measure_covariances.py``. None for the package's own, for ``demo`` and ``demo/vit``.
        digest: the file's expected ``digest``; any other file is refused.

    Raises:
        UsageError: the power is no such number, or the file does not match the digest; from `for_network`: the file's numbers are of other
            weights; from `for_objectives`: it holds none of the layer, or a target is no `Channel`, `Direction` or `SAELatent` of all places.
        CheckpointError: the file cannot be read.
    """

    def __init__(self, power: float = 2.0, covariances: str | Path | None = None, digest: str | None = None) -> None:
        if not 0 <= power < math.inf:
            raise UsageError(f"Pattern needs a finite power of at least 0, got {power}")
        self.power = float(power)
        self.covariances = None if covariances is None else str(covariances)
        # The package's own are read where they are needed, and need not travel to other processes.
        self._stored = None if self.covariances is None else _read(Path(self.covariances))
        self.digest = None if self._stored is None else _digest(self._stored[0])
        if digest is not None and digest != self.digest:
            raise UsageError(
                f"the covariances in {self._file} have changed: their digest is {self.digest}, not {digest}"
            )
        self._network = ""
        self._patterns: list[tuple[tuple[int, ...], str, Tensor, Tensor, Tensor]] = []

    @property
    def layers(self) -> frozenset[str]:
        return frozenset(layer for _, layer, *_ in self._patterns)

    @property
    def reads_activations(self) -> bool:
        return True

    @property
    def multiplies(self) -> bool:
        return True

    def for_network(self, network: VisionNetwork) -> Self:
        bound = copy.copy(self)
        stored, measured = self._stored or _of_package()
        known = any(name.startswith(f"{network.name}:") for name in stored)  # else its layers are missed later, by name
        if known and measured.get(network.name) != network.digest():
            raise UsageError(
                f"the covariances of {network.name} in {self._file} are of other weights; scripts/measure_covariances.py measures "
                "those of these"
            )
        bound._network, bound._stored = network.name, (stored, measured)
        return bound

    def for_objectives(self, objectives: Sequence[Objective]) -> Self:
        bound = copy.copy(self)
        rows: dict[str, list[int]] = {}
        for row, objective in enumerate(objectives):
            rows.setdefault(self._layer_of(objective), []).append(row)
        bound._patterns = []
        for layer, some in rows.items():
            mean, std, correlation = self._measurements(layer)
            filters = torch.stack([_gradient(objectives[row], layer, mean) for row in some])
            if bool((filters.norm(dim=1) == 0).any()):
                raise UsageError(
                    "Pattern needs a unit that also reads activations that do not excite it: of a sparse autoencoder sae:FILE:LATENT, not "
                    "sae_activation"
                )
            bound._patterns.append((tuple(some), layer, mean, std, normalize((filters * std) @ correlation, dim=1)))
        return bound

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        if not self._patterns:
            raise UsageError("Pattern is a penalty of a visualizer, and no part of a target")
        share = images.new_zeros(len(images), dtype=torch.float32)
        for rows, layer, *measured in self._patterns:
            index = constant(rows, images.device, torch.long)
            mean, std, patterns = (on_device(tensor, images.device) for tensor in measured)
            found = activations[layer].float()
            standardized = (found.reshape(*found.shape[:2], -1).mean(2)[index] - mean) / std
            cosine = (standardized * patterns).sum(1) / standardized.norm(dim=1).clamp(min=1e-6)
            share = share.index_put((index,), 1 - cosine.clamp(min=LEAST_COSINE) ** self.power)
        return share

    @property
    def _file(self) -> str:
        return self.covariances or "the package"

    def _layer_of(self, objective: Objective) -> str:
        if not isinstance(objective, Channel | Direction | SAELatent) or objective.position is not None:
            raise UsageError(
                f"Pattern cannot be used for {objective.text()}, only for channels, directions and latents of a sparse autoencoder, over all "
                "places; leave it out of the penalties (--model.penalties=[])"
            )
        return objective.layer

    def _measurements(self, layer: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (C,), standard deviation (C,) and correlations (C, C) of a layer."""
        if self._stored is None:
            raise UsageError("Pattern is a penalty of a visualizer, and no part of a target")
        name = f"{self._network}:{layer}"
        mean, std, correlation = (self._stored[0].get(f"{name} {part}") for part in PARTS)
        if mean is None or std is None or correlation is None:
            known = sorted({key.rpartition(" ")[0] for key in self._stored[0]})
            raise UsageError(
                f"no covariances of {name} in {self._file}; known are {', '.join(known) or 'none'}; scripts/measure_covariances.py "
                "measures others"
            )
        channels = mean.numel()
        shapes = tuple(mean.shape), tuple(std.shape), tuple(correlation.shape)
        finite = all(bool(part.isfinite().all()) for part in (mean, std, correlation))
        if shapes != ((channels,), (channels,), (channels, channels)) or not finite or not bool((std > 0).all()):
            raise UsageError(
                f"the covariances of {name} in {self._file} are not finite numbers (C,), (C,) and (C, C) with standard deviations above 0; "
                "measure them again by scripts/measure_covariances.py"
            )
        return mean, std, correlation


def _gradient(objective: Objective, layer: str, mean: Tensor) -> Tensor:
    """The filter of a unit, (C,): the gradient of its activation by the mean activation of each channel, at that of photos (C,)."""
    # Two places, since some autoencoders leave out the first token.
    with torch.inference_mode(False), torch.enable_grad():
        places = mean.clone()[None, :, None].expand(1, -1, 2).clone().requires_grad_()
        value = objective({layer: places}, torch.zeros(1, 3, 1, 1)).sum()
        (found,) = torch.autograd.grad(value, places)
    return found[0].sum(1)


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and of each network its digest."""
    return read_weights(file), read_metadata(file)


@functools.cache
def _of_package() -> tuple[dict[str, Tensor], dict[str, str]]:
    return _read(COVARIANCES)


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()
