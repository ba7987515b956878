"""Applies a recipe's transforms with random draws that depend on seed, target and step alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.errors import FeatureVisualizationError, TransformError
from lightning_fv.functional import KeyedUniforms, seed_of
from lightning_fv.functional.random import BLOCK
from lightning_fv.optimization.keyed_parameters import KeyedParameters, in_order, takes_parameters
from lightning_fv.transforms import KeyedTransform, PreparedTransform, RandomBackground

_BACKGROUND = -1
"""Stands for the background among the numbers of the transforms."""


class TransformPipeline:
    """Transforms applied in order: ``pipeline(images, step)``.

    What a transform draws for a picture depends on (seed, key, number of the transform, step) alone. A `KeyedTransform` is given
    uniforms, Kornia's augmentations their own parameters (`KeyedParameters`). Any other Module draws from torch's generators,
    and is applied to one picture at a time: it costs more, and what mixes the pictures of a batch has nothing to mix.

    Args:
        transforms: Modules from pictures (B, 3, H, W) to pictures (B, 3, H', W').
        seed: of the run.
        keys: what each picture's random draws depend on besides seed and step; one per picture.
        unit: length of 1.0 in pixels for a `KeyedTransform`: the longer side that the network was trained at.
        background: lays pictures with an opacity over a background before the other transforms; None for opaque pictures.
    """

    def __init__(
        self,
        transforms: Sequence[nn.Module],
        seed: int,
        keys: Sequence[str],
        unit: int,
        background: RandomBackground | None = None,
    ) -> None:
        self._transforms, self._seed, self._keys = in_order(transforms), seed, list(keys)
        self._uniforms: dict[int, KeyedUniforms] = {}
        self._parameters: dict[int, KeyedParameters] = {}
        self._blocks: dict[int, tuple[object, tuple[Tensor, ...]]] = {}
        self._last: dict[int, tuple[tuple[int, int], torch.device]] = {}
        self._held: dict[int, tuple[Tensor, ...]] = {}
        for number, transform in enumerate(self._transforms):
            if isinstance(transform, KeyedTransform):
                transform.unit = unit
                self._uniforms[number] = KeyedUniforms(seed, self._keys, f"transform {number}", transform.draws)
            elif takes_parameters(transform):
                self._parameters[number] = KeyedParameters(transform, seed, self._keys, f"transform {number}")
        self._background = background
        if background is not None:
            self._colours = KeyedUniforms(seed, self._keys, "background", background.draws)

    def __call__(self, images: Tensor, step: int | None) -> Tensor:
        """The pictures as the network sees them, (B, 3, H', W').

        Args:
            images: (B, 3, H, W) in [0, 1]; with a background also (B, 4, H, W), whose last channel is the opacity.
            step: number of the random draw; None for that of the last `hold`.

        Raises:
            TransformError: a transform does not return pictures, or does not pass gradients.
        """
        images = self._over_background(images, step)
        for number in range(len(self._transforms)):
            images = self._apply(number, images, step)
        return images

    @property
    def can_hold(self) -> bool:
        """Whether all transforms are this package's, which draw nothing themselves."""
        kinds = [type(transform) for transform in self._transforms]
        return all(issubclass(kind, KeyedTransform) and kind.__module__.startswith("lightning_fv.") for kind in kinds)

    def hold(self, step: int) -> None:
        """Copy a step's random draws to where those of the last `hold` were, for pictures of the size and device of the last call."""
        for number, (size, device) in self._last.items():
            draws = self._draws(number, step, size, device)
            held = self._held.get(number, ())
            if [(one.shape, one.device) for one in held] != [(one.shape, device) for one in draws]:
                held = self._held[number] = tuple(drawn.clone() for drawn in draws)
            for buffer, drawn in zip(held, draws, strict=True):
                buffer.copy_(drawn)

    def _over_background(self, images: Tensor, step: int | None) -> Tensor:
        if self._background is None or images.shape[1] <= self._background.channels:
            return images
        laid: Tensor = self._background(images, *self._drawn(_BACKGROUND, step, images))
        return laid

    def _apply(self, number: int, images: Tensor, step: int | None) -> Tensor:
        """The pictures after one of the transforms."""
        transform = self._transforms[number]
        if isinstance(transform, PreparedTransform):
            result = transform.apply_prepared(images, self._drawn(number, step, images))
        elif isinstance(transform, KeyedTransform):
            result = transform(images, *self._drawn(number, step, images))
        elif step is None:
            raise TransformError(f"the draws of {type(transform).__name__} cannot be held")
        elif number in self._parameters:
            _, channels, height, width = images.shape
            result = transform(images, params=self._parameters[number].at(step, (channels, height, width)))
        else:
            result = _one_by_one(transform, images, [seed_of(self._seed, key, number, step) for key in self._keys])
        return _checked(transform, images, result)

    def _drawn(self, number: int, step: int | None, images: Tensor) -> tuple[Tensor, ...]:
        """What a transform needs for pictures at a step, or what is held for it."""
        if step is None:
            return self._held[number]
        size = (images.shape[-2], images.shape[-1])
        self._last[number] = size, images.device
        return self._draws(number, step, size, images.device)

    def _draws(self, number: int, step: int, size: tuple[int, int], device: torch.device) -> tuple[Tensor, ...]:
        """What a transform needs at a step; computed for a block of steps at once if it can be prepared."""
        if number == _BACKGROUND:
            return (self._colours.at(step, device),)
        transform = self._transforms[number]
        if not isinstance(transform, PreparedTransform):
            return (self._uniforms[number].at(step, device),)
        key, block = (step // BLOCK, size, device), self._blocks.get(number)
        if block is None or block[0] != key:
            uniforms = self._uniforms[number].block(step, device)
            with torch.no_grad():
                block = self._blocks[number] = key, transform.prepare(uniforms, size)
        return tuple(values[step % BLOCK] for values in block[1])

    def rehearse(self, images: Tensor) -> Tensor:
        """As a call at step 0, before any work: whatever a transform raises is said in one line.

        Raises:
            TransformError: a transform does not return pictures, returns non-finite ones, does not pass gradients, or fails.
        """
        before = images.detach().clone()
        try:
            seen = self._over_background(images, 0)
            for number, transform in enumerate(self._transforms):
                given, seen = seen, self._apply(number, seen, 0)
                if given.isfinite().all() and not seen.isfinite().all():
                    name = type(transform).__name__
                    raise TransformError(
                        f"the transform {name} returns inf or NaN for finite pictures; check its arguments"
                    )
        except (FeatureVisualizationError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # any, of a user's transform
            names = ", ".join(type(transform).__name__ for transform in self._transforms)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TransformError(
                f"the transforms ({names}) fail for pictures {tuple(images.shape)} of {images.dtype}: {reason}"
            ) from error
        if not torch.equal(images.detach(), before):  # by a KeyedTransform: the others are given copies
            names = ", ".join(type(t).__name__ for t in self._transforms if isinstance(t, KeyedTransform))
            raise TransformError(
                f"one of the transforms {names} changes its input in place; return new pictures instead"
            )
        return seen


def _one_by_one(transform: nn.Module, images: Tensor, seeds: Sequence[int]) -> Any:
    """Apply a transform that draws from torch's global generators to each picture by itself, so that none depends on its batch.

    The generators are seeded for every picture, and restored afterwards.
    """
    on_cuda = images.device.type == "cuda"
    results = []
    with torch.random.fork_rng([images.device] if on_cuda else []):
        for picture, seed in zip(torch.split(images, 1), seeds, strict=True):
            torch.default_generator.manual_seed(
                seed
            )  # torch.manual_seed asks for every kind of device, 0.1 ms each time
            if on_cuda:
                with torch.cuda.device(images.device):
                    torch.cuda.manual_seed(seed)
            # A copy, since it may work in place: penalties see the pictures as they are before transforms.
            results.append(transform(picture.clone()))
    for result in results:
        if not isinstance(result, Tensor) or result.ndim != 4 or len(result) != 1:
            return result  # for `_checked` to refuse
    sizes = sorted({tuple(result.shape) for result in results})
    if len(sizes) > 1:
        raise TransformError(
            f"the transform {type(transform).__name__} returned pictures of several sizes, {sizes[0]} and {sizes[1]}"
        )
    return torch.cat(results)


def _checked(transform: nn.Module, images: Tensor, result: Any) -> Tensor:
    """The result of a transform, if it can be optimised through; another size is fine."""
    name = type(transform).__name__
    if not isinstance(result, Tensor):
        raise TransformError(
            f"the transform {name} returned a {type(result).__name__}; it must return pictures (B, 3, H, W)"
        )
    if result.ndim != 4 or result.shape[:2] != images.shape[:2]:
        raise TransformError(
            f"the transform {name} returned {tuple(result.shape)} for {tuple(images.shape)}; keep (B, 3)"
        )
    if images.requires_grad and not result.requires_grad:
        raise TransformError(f"no gradient passes through the transform {name}; it detaches its input or rounds it")
    if result.dtype not in (images.dtype, torch.float64):
        raise TransformError(
            f"the transform {name} returned {result.dtype} for {images.dtype}; return the type of its input"
        )
    return result.to(images.dtype)
