"""Parameters of Kornia's augmentations as a function of (seed, target, step), as `KeyedUniforms` are for our transforms."""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from lightning_fv.functional import KeyedUniforms, seed_of, torch_defaults
from lightning_fv.functional.random import BLOCK

_LARGEST_ROW = 1024
"""Numbers of a picture and step up to which a block of steps is drawn at once; noise of a picture's size is more."""

_EVERY_PICTURE = "every picture"
"""Key of the draws that Kornia makes once for a batch; every target's own key has a colon."""

_SHARED = {"forward_input_shape", "order"}
"""Parameters that pictures of a batch share: (B, C, H, W), and the order of a jitter's four operations."""

# fmt: off
_IN_ONE_CALL = {
    "CenterCrop", "ColorJiggle", "ColorJitter", "Denormalize", "Normalize", "PadTo", "RandomAffine", "RandomBoxBlur",
    "RandomBrightness", "RandomChannelShuffle", "RandomContrast", "RandomCrop", "RandomErasing", "RandomFisheye",
    "RandomGamma", "RandomGaussianBlur", "RandomGaussianNoise", "RandomGrayscale", "RandomHorizontalFlip", "RandomHue",
    "RandomInvert", "RandomMedianBlur", "RandomPerspective", "RandomPlanckianJitter", "RandomRGBShift",
    "RandomResizedCrop", "RandomRotation", "RandomSaltAndPepperNoise", "RandomSaturation", "RandomSharpness",
    "RandomShear", "RandomThinPlateSpline", "RandomTranslate", "RandomVerticalFlip", "Resize",
}
# fmt: on


def in_order(transforms: Iterable[nn.Module]) -> list[nn.Module]:
    """The transforms with the parts of sequences that hold augmentations of Kornia alone, and apply all of them in order."""
    parts: list[nn.Module] = []
    for transform in transforms:
        inner = in_order(transform.children()) if _is_sequence(transform) else []
        kornia = inner and all(type(part).__module__.startswith("kornia.augmentation._2d.") for part in inner)
        parts += inner if kornia else [transform]
    return parts


def _is_sequence(transform: nn.Module) -> bool:
    kind = type(transform)
    if kind.__module__.startswith("kornia.augmentation.container."):
        return kind.__name__ == "ImageSequential" and not transform.random_apply
    return kind is nn.Sequential


def takes_parameters(transform: nn.Module) -> bool:
    """Whether a transform is one of Kornia's augmentations that give a picture the same bits in any batch, given its parameters.

    Of those that do not, RandomElasticTransform and RandomJPEG differ in the last bits with the number of pictures,
    RandomMotionBlur and RandomRain take a size from the batch, RandomChannelDropout numbers its pictures, and RandomDissolving draws
    while it is applied. Those that no gradient passes, and subclasses, whose authors may draw elsewhere, are not on the list either.
    """
    kind = type(transform)
    return kind.__module__.startswith("kornia.augmentation.") and kind.__name__ in _IN_ONE_CALL


class KeyedParameters:
    """An augmentation's ``params``: row b of those of ``at(step, size)`` depends on (seed, keys[b], purpose, step, size) alone.

    They are drawn by Kornia's own ``forward_parameters`` on the CPU, of each picture in blocks of 64 steps, as if these were a batch,
    and stay on the CPU, where Kornia reads some of them.

    What Kornia draws once for a batch depends on (seed, purpose, step) alone, so that it is the same in every batch: all
    parameters with ``same_on_batch``, whether a batch is cropped at all (``RandomCrop(p=0.5)``), the order of the operations of
    `ColorJitter` and `ColorJiggle`.

    Args:
        augmentation: one that `takes_parameters`; it is not changed.
        seed: the run's seed.
        keys: one key per picture.
        purpose: what the parameters are for; two purposes share no draws.
    """

    def __init__(self, augmentation: nn.Module, seed: int, keys: Sequence[str], purpose: str) -> None:
        same: bool = augmentation.same_on_batch  # type: ignore[assignment]
        # A copy, since Kornia draws on the device that the trainer moves the augmentation to; the gate of the batch is drawn here.
        self._augmentation = copy.deepcopy(augmentation).to("cpu", torch.float32)
        self._p_batch: float = augmentation.p_batch  # type: ignore[assignment]
        self._augmentation.same_on_batch, self._augmentation.p_batch = False, 1.0  # type: ignore[assignment]
        self._seed, self._purpose, self._pictures = seed, purpose, len(keys)
        self._keys = (_EVERY_PICTURE,) if same else tuple(keys)
        self._batch = KeyedUniforms(seed, [_EVERY_PICTURE], f"{purpose} of the batch", 5)
        self._size: tuple[int, int, int] | None = None
        self._rows, self._number = 1, -1
        self._block = dict[str, Tensor]()

    def at(self, step: int, size: tuple[int, int, int]) -> dict[str, Tensor]:
        """What ``forward_parameters`` returns, for one step: a new dict, since augmentations add to it.

        Args:
            step: number of the random draw.
            size: (C, H, W) of the pictures.
        """
        if size != self._size:
            (row,) = self._draw([_EVERY_PICTURE], 0, 1, size)
            few = sum(values.numel() for values in row.values()) <= _LARGEST_ROW
            self._size, self._rows, self._number = size, BLOCK if few else 1, -1
        if step // self._rows != self._number:
            self._number = step // self._rows
            self._block = self._stacked(self._draw(self._keys, self._number, self._rows, size))
        params = {name: values[step % self._rows] for name, values in self._block.items() if name not in _SHARED}
        batch = self._batch.at(step)[0]
        params["forward_input_shape"] = self._block["forward_input_shape"].clone()
        if self._p_batch < 1:
            params["batch_prob"] = params["batch_prob"] * (batch[0] < self._p_batch)
        if "order" in self._block:
            params["order"] = batch[1:].argsort()
        return params

    def _stacked(self, drawn: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Parameters of a block of steps, (steps, B, ...), of those of each key, (steps, ...)."""
        times = self._pictures // len(drawn)  # more than 1 if all pictures have the same
        block = {name: torch.stack([params[name] for params in drawn] * times, 1) for name in drawn[0].keys() - _SHARED}
        shape = drawn[0]["forward_input_shape"].clone()
        shape[0] = self._pictures
        return block | {name: drawn[0][name] for name in drawn[0].keys() & _SHARED} | {"forward_input_shape": shape}

    def _draw(
        self, keys: Sequence[str], number: int, steps: int, size: tuple[int, int, int]
    ) -> list[dict[str, Tensor]]:
        """Of each key, the parameters of one picture in a block of steps, (steps, ...)."""
        generator = torch.default_generator  # the only one that Kornia draws from on the CPU
        state = generator.get_state()
        drawn = []
        try:
            with torch_defaults():
                for key in keys:
                    generator.manual_seed(seed_of(self._seed, key, self._purpose, number))
                    drawn.append(self._augmentation.forward_parameters((steps, *size)))  # type: ignore[operator]
        finally:
            generator.set_state(state)
        return drawn
