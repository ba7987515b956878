"""A frozen network with its preprocessing, memory format and class names."""

import contextlib
import dataclasses
import hashlib
import math
import operator
import pickle
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.errors import CaptureError, NetworkError, warn
from lightning_fv.functional import MAX_SIDE, PhotoSet, photo_spectrum, resize_images, torch_defaults
from lightning_fv.functional.code import hook_digests, unnamed_code
from lightning_fv.networks.capture import LayerInfo, capture, parse_layer, probe
from lightning_fv.networks.folding import foldable
from lightning_fv.networks.frozen import memory_efficient_layers
from lightning_fv.networks.modules import depends_on_its_batch, plain_module
from lightning_fv.networks.normalize import normalize

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class VisionNetwork:
    """A trained network as a function of pictures in [0, 1].

    Not a Module, so that a LightningModule that holds one neither saves nor trains it, nor switches its mode.

    Args:
        module: maps normalised (B, C, H, W) to logits (B, classes); what `torch.compile` and data parallelism wrap around
            it is left out.
        mean, std: per channel, of the [0, 1] photos that it was trained on; as many numbers as it has channels, three for RGB.
        input_size: (height, width) it was trained at, in pixels, or one number for a square; the default size of pictures.
        categories: class names in the order of the logits; may be empty.
        name: what to call it in logs and results.
        fixed_size: whether it accepts only ``input_size`` (most ViTs); other pictures are resized first.
            Detected by `layers` if False.
        photos: what it was trained on: which photos' high frequencies those of its pictures are compared with.
        channel_axes: channel axis by layer name, where `lightning_fv.networks.capture.channel_axis` cannot infer it.

    Raises:
        NetworkError: no such photos, mean and std are not as many finite numbers, a std is not positive, the input size is not two sides of
            at least one pixel, a class name is not text, or the module cannot be visualized; see `lightning_fv.networks.modules.plain_module`.
    """

    @torch_defaults()
    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        input_size: int | tuple[int, int] = (224, 224),
        categories: Sequence[str] = (),
        name: str = "",
        fixed_size: bool = False,
        photos: PhotoSet = "imagenet",
        channel_axes: Mapping[str, int] | None = None,
    ) -> None:
        mean, std, input_size = _numbers(mean), _numbers(std), _sides(input_size)
        if not 0 < len(mean) == len(std) or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise NetworkError(
                f"mean and std need a number each per channel, such as three for RGB, std above 0; got mean {mean}, std {std}"
            )
        for category in categories:
            if not isinstance(category, str) or category.encode(errors="replace").decode() != category:
                raise NetworkError(f"the class name {category!r} is not text that UTF-8 can encode; give another")
        try:
            photo_spectrum(photos)
        except ValueError as error:
            raise NetworkError(str(error)) from None
        self.module = plain_module(module)
        self.mean, self.std = mean, std
        self.input_size = input_size
        self.categories = tuple(categories)
        self.name = name or type(self.module).__name__
        self.fixed_size = fixed_size
        self.photos = photos
        self.channel_axes = dict(channel_axes or {})
        self.source: dict[str, Any] | None = None
        """The arguments with which `lightning_fv.load_network` loads it again; None if it did not come from there."""
        self._layers: list[LayerInfo] | None = None
        self._axes: dict[str, int | None] = {}
        self._folded: dict[nn.Conv2d, nn.BatchNorm2d] | None = None
        # Normalisation as one multiply-add: x / std - mean / std.
        self._scale = 1 / torch.tensor(self.std).view(1, -1, 1, 1)
        self._shift = -torch.tensor(self.mean).view(1, -1, 1, 1) * self._scale

    @property
    def channels(self) -> int:
        """C of the pictures that it processes, (B, C, H, W): as many as ``mean`` has numbers."""
        return len(self.mean)

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next((p.device for p in self.module.parameters()), self._scale.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of pictures (B, C, H, W) in [0, 1]."""
        logits: Tensor = self.module(self.preprocess(images))
        return logits

    def preprocess(self, images: Tensor) -> Tensor:
        """Pictures in [0, 1] -> the module's input: resized if its size is fixed, normalised, channels last."""
        if images.shape[1] != self.channels:
            raise NetworkError(
                f"{self.name} takes pictures (B, {self.channels}, H, W), a channel for each number of its mean and std, and was "
                f"given {tuple(images.shape)}; make pictures of as many channels, or give the mean and std it was trained with"
            )
        if self.fixed_size:
            images = resize_images(images, self.input_size)
        if self._scale.device != images.device:
            with torch.inference_mode(False):  # kept for later calls, which may need a gradient
                self._scale, self._shift = self._scale.to(images.device), self._shift.to(images.device)
        return normalize(images, self._scale, self._shift)

    def capture(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Outputs of the named layers for pictures in [0, 1]; see `lightning_fv.networks.capture.capture`."""
        return capture(self.module, self.preprocess(images), layers)

    def activations(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """As `capture`, with the channel axis moved to 1: (B, C, ...), whatever the network's layout is."""
        found = self.capture(images, layers)
        axes = {layer: self.axis_of(layer, activation.ndim) for layer, activation in found.items()}
        return {layer: found[layer].movedim(axis, 1) if axis != 1 else found[layer] for layer, axis in axes.items()}

    def axis_of(self, layer: str, ndim: int) -> int:
        """The channel axis of a layer's output of ``ndim`` axes.

        Raises:
            CaptureError: it cannot be inferred, or the one that was given does not exist.
        """
        name, _, item = parse_layer(layer)
        axis = self.channel_axes.get(layer, self.channel_axes.get(name))
        if axis is not None and not 0 < axis < ndim:
            raise CaptureError(f"layer {layer!r} has {ndim} axes; its channel axis cannot be {axis}")
        if axis is None and ndim in (2, 3):
            axis = ndim - 1
        if axis is None and ndim == 4 and item is None:
            self.layers()
            axis = self._axes.get(name)
        if ndim < 2:
            raise CaptureError(f"layer {layer!r} outputs {ndim} axes, no channels of a batch; choose another layer")
        if axis is None:
            raise CaptureError(
                f"cannot tell the channel axis of layer {layer!r}, which has {ndim} axes; "
                f"give it: --channel_axes '{{{layer}: AXIS}}', from 1 to {ndim - 1}"
            )
        return axis

    def layers(self) -> list[LayerInfo]:
        """The network's layers in execution order, with their output shapes for a grey picture of the training size.

        The channel axis is inferred from a second picture, 1.5 times as wide. If the network cannot process that one, its size
        is fixed: from then on all pictures are resized first.

        Raises:
            NetworkError: the network cannot process a picture of its own size.
        """
        if self._layers is None:
            with self.frozen():
                own = self._probe_own_size()
                wide = own if self.fixed_size else self._probe_wide()
            self.fixed_size = wide is None or self.fixed_size
            self._axes = {info.name: info.axis for info in wide or own}
            self._layers = [dataclasses.replace(info, axis=self._axes.get(info.name)) for info in own]
        return self._layers

    def _probe_own_size(self) -> list[LayerInfo]:
        if (name := depends_on_its_batch(self.module)) is not None:
            warn(
                f"{name} of {self.name} normalises over the batch, so pictures affect each other; "
                "use a batch size of 1",
            )
        random = torch.get_rng_state()
        try:
            layers = self._probe(self.input_size)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of whatever the module's code does
            raise NetworkError(
                f"{self.name} cannot process a picture of shape {tuple(self.grey(self.input_size).shape)}: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}; give the size it was trained at "
                "(input_size of VisionNetwork, or --input_size), and a mean and std (--mean, --std) with a number for each of its "
                f"channels, now {self.channels}"
            ) from error
        if not torch.equal(random, torch.get_rng_state()):
            torch.set_rng_state(random)
            warn(
                f"{self.name} draws random numbers in its forward, even in evaluation mode: pictures are not "
                "reproducible; look for dropout that ignores evaluation mode",
            )
        return layers

    def _probe_wide(self) -> list[LayerInfo] | None:
        """The layers for a picture 1.5 times as wide; None if the network cannot process it."""
        try:
            return self._probe((self.input_size[0], self.input_size[1] * 3 // 2))
        except torch.OutOfMemoryError:
            raise
        except Exception:
            return None

    def _probe(self, size: tuple[int, int]) -> list[LayerInfo]:
        return probe(self.module, self.preprocess(self.grey(size)))

    def grey(self, size: tuple[int, int]) -> Tensor:
        """A grey picture of ``size`` (height, width), (1, C, *size), on the network's device."""
        return torch.full((1, self.channels, *size), 0.5, device=self.device)

    def shape_of(self, layer: str, size: tuple[int, int]) -> tuple[int, ...]:
        """Shape of a layer's output for one picture of ``size`` (height, width), channels at axis 1."""
        with self.frozen(), torch.no_grad():
            return tuple(self.activations(self.grey(size), [layer])[layer].shape)

    def digest(self) -> str:
        """SHA-256 (hex) over the names and values of all parameters and buffers, also of buffers that are not saved."""
        digest = hashlib.sha256()
        parameters = self.module.named_parameters(remove_duplicate=False)
        buffers = self.module.named_buffers(remove_duplicate=False)
        for name, tensor in sorted({**dict(parameters), **dict(buffers)}.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            digest.update(values.flatten().view(torch.uint8).numpy().data)
        for name, value in sorted(self.module.state_dict().items()):
            if not isinstance(value, Tensor):  # a module's extra state
                digest.update(f"{name} {pickle.dumps(value).hex()}".encode())
        return digest.hexdigest()

    def settings(self) -> dict[str, Any]:
        """What changes its outputs besides the weights, as plain values: how pictures are prepared, and its structure.

        The structure is a digest of the class and the printed options of every module, of its public attributes that are
        numbers or text, and of the hooks of its forward: an activation or a factor may differ where all weights are equal.
        """
        self.layers()  # which finds out whether the size is fixed
        digest = hashlib.sha256()
        for name, module in self.module.named_modules(remove_duplicate=False):
            plain = {key: value for key, value in vars(module).items() if not key.startswith("_") and _is_plain(value)}
            plain.pop("training", None)
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            options = _ADDRESS.sub("", module.extra_repr())
            digest.update(repr((name, kind, options, sorted(plain.items()), hook_digests(module))).encode())
            digest.update(repr(unnamed_code(type(module))).encode())
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "input_size": list(self.input_size),
            "fixed_size": self.fixed_size,
            "channel_axes": self.channel_axes,
            "structure": digest.hexdigest()[:32],
        }

    def to(self, device: torch.device | str) -> "VisionNetwork":
        """Move the module to a device, in place; returns itself."""
        self.module.to(device)
        return self

    @contextlib.contextmanager
    def frozen(self) -> Iterator["VisionNetwork"]:
        """Evaluation mode, no parameter gradients, channels last, no activations kept in vain and BatchNorms folded into convolutions
        (`memory_efficient_layers`), and torch's own modes (`torch_defaults`).

        Afterwards the module has the same tensors as before, where they were and as they were laid out, so that an optimizer,
        a view or another process that shares them still does; and its buffers have the same values, even if its forward updates
        them in evaluation mode.
        """
        modules = [(module, module.training) for module in self.module.modules()]
        parameters = [(parameter, parameter.requires_grad, parameter.data) for parameter in self.module.parameters()]
        buffers = [(module, *named) for module, _ in modules for named in module.named_buffers(recurse=False)]
        copies = [(values, values.clone()) for *_, values in buffers]
        try:
            with torch_defaults():
                self.module.eval().requires_grad_(False)
                for parameter, _, values in parameters:
                    parameter.data = _channels_last(values)
                for module, name, values in buffers:
                    setattr(module, name, _channels_last(values))
                if self._folded is None:
                    self._folded = foldable(self.module, (self.channels, *self.input_size))
                with memory_efficient_layers(self.module, self._folded):
                    yield self
        finally:
            for parameter, requires_grad, values in parameters:
                parameter.data = values
                parameter.requires_grad_(requires_grad)
            for module, name, values in buffers:
                setattr(module, name, values)
            with torch.no_grad():
                for values, copy in copies:
                    # Written only where they differ: a graph may have saved them. Versions do not show batch_norm's updates.
                    if values.layout == torch.strided and not torch.equal(values, copy):
                        values.copy_(copy)
            for module, training in modules:
                module.training = training


def _channels_last(values: Tensor) -> Tensor:
    return values.to(memory_format=torch.channels_last) if values.ndim == 4 else values


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    """Numbers of any kind, such as an array of float32 or a tensor, as Python's."""
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise NetworkError(f"mean and std need a number per channel, such as three for RGB, got {values!r}") from None


def _sides(size: Any) -> tuple[int, int]:
    """(height, width) of an input size; one number is a square."""
    try:
        height, width = map(operator.index, (size, size) if isinstance(size, Integral) else size)
    except (TypeError, ValueError):
        height = width = 0
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise NetworkError(
            f"the input size needs a height and a width of 1 to {MAX_SIDE} px, or one number for a square, got {size!r}"
        )
    return height, width


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
