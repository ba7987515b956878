"""A frozen network with its preprocessing, memory format and class names."""

import contextlib
import dataclasses
import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.errors import CaptureError, NetworkError
from lightning_fv.functional import resize_images
from lightning_fv.functional.code import hook_digests
from lightning_fv.networks.capture import LayerInfo, capture, parse_layer, probe

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class VisionNetwork:
    """A trained network as a function of pictures in [0, 1].

    Not a Module, so that a LightningModule that holds one neither saves nor trains it, nor switches its mode.

    Args:
        module: maps normalised (B, 3, H, W) to logits (B, classes).
        mean, std: per RGB channel, of the [0, 1] photos that it was trained on.
        input_size: (height, width) it was trained at, in pixels; the default size of pictures.
        categories: class names in the order of the logits; may be empty.
        name: what to call it in logs and results.
        fixed_size: whether it accepts only ``input_size`` (most ViTs); other pictures are resized first.
        channel_axes: channel axis by layer name, where `lightning_fv.networks.capture.channel_axis` cannot infer it.

    Raises:
        NetworkError: mean or std are not three numbers, a std is not positive, parameters are not float32
            (or complex64), or a class
            name is not text.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        input_size: tuple[int, int] = (224, 224),
        categories: Sequence[str] = (),
        name: str = "",
        fixed_size: bool = False,
        channel_axes: Mapping[str, int] | None = None,
    ) -> None:
        mean, std = _numbers(mean), _numbers(std)
        if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise NetworkError(f"mean and std need three numbers each, std above 0; got mean {mean}, std {std}")
        other = {p.dtype for p in module.parameters() if p.dtype.is_floating_point or p.dtype.is_complex}
        other -= {torch.float32, torch.complex64}
        if other:
            remedy = (
                "convert them to torch.complex64 first" if torch.complex128 in other else "call .float() on it first"
            )
            raise NetworkError(f"the network's parameters are {', '.join(map(str, other))}; {remedy}")
        for category in categories:
            if not isinstance(category, str) or category.encode(errors="replace").decode() != category:
                raise NetworkError(f"the class name {category!r} is not text that UTF-8 can encode; give another")
        self.module = module
        self.mean, self.std = mean, std
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.categories = tuple(categories)
        self.name = name or type(module).__name__
        self.fixed_size = fixed_size
        self.channel_axes = dict(channel_axes or {})
        self.source: dict[str, Any] | None = None
        """The arguments with which `lightning_fv.load_network` loads it again; None if it did not come from there."""
        self._layers: list[LayerInfo] | None = None
        self._axes: dict[str, int | None] = {}
        # Normalisation as one multiply-add: x / std - mean / std.
        self._scale = 1 / torch.tensor(self.std).view(1, 3, 1, 1)
        self._shift = -torch.tensor(self.mean).view(1, 3, 1, 1) * self._scale

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next((p.device for p in self.module.parameters()), self._scale.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of pictures (B, 3, H, W) in [0, 1]."""
        logits: Tensor = self.module(self.preprocess(images))
        return logits

    def preprocess(self, images: Tensor) -> Tensor:
        """Pictures in [0, 1] -> the module's input: resized if its size is fixed, normalised, channels last."""
        if self.fixed_size:
            images = resize_images(images, self.input_size)
        if self._scale.device != images.device:
            self._scale, self._shift = self._scale.to(images.device), self._shift.to(images.device)
        return torch.addcmul(self._shift, images.contiguous(memory_format=torch.channels_last), self._scale)

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
        if axis is None:
            raise CaptureError(
                f"cannot tell the channel axis of layer {layer!r}, which has {ndim} axes; "
                f"give it: --channel_axes '{{{layer}: AXIS}}', from 1 to {ndim - 1}"
            )
        return axis

    def layers(self) -> list[LayerInfo]:
        """The network's layers in execution order, with their output shapes for a grey picture of the training size.

        The channel axis is inferred from a second picture, 1.5 times as wide, unless the network's size is fixed.
        """
        if self._layers is None:
            height, width = self.input_size
            with self.frozen():
                own, wide = (
                    probe(self.module, self.preprocess(torch.full((1, 3, height, side), 0.5, device=self.device)))
                    for side in (width, width if self.fixed_size else width * 3 // 2)
                )
            self._axes = {info.name: info.axis for info in wide}
            self._layers = [dataclasses.replace(info, axis=self._axes.get(info.name)) for info in own]
        return self._layers

    def shape_of(self, layer: str, size: tuple[int, int]) -> tuple[int, ...]:
        """Shape of a layer's output for one picture of ``size`` (height, width), channels at axis 1."""
        grey = torch.full((1, 3, *size), 0.5, device=self.device)
        with self.frozen(), torch.no_grad():
            return tuple(self.activations(grey, [layer])[layer].shape)

    def digest(self) -> str:
        """SHA-256 (hex) over the names and values of all parameters and buffers, also of buffers that are not saved."""
        digest = hashlib.sha256()
        parameters = self.module.named_parameters(remove_duplicate=False)
        buffers = self.module.named_buffers(remove_duplicate=False)
        for name, tensor in sorted({**dict(parameters), **dict(buffers)}.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            digest.update(values.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def settings(self) -> dict[str, Any]:
        """What changes its outputs besides the weights, as plain values: how pictures are prepared, and its structure.

        The structure is a digest of the class and the printed options of every module, of its public attributes that are
        numbers or text, and of the hooks of its forward: an activation or a factor may differ where all weights are equal.
        """
        digest = hashlib.sha256()
        for name, module in self.module.named_modules(remove_duplicate=False):
            plain = {key: value for key, value in vars(module).items() if not key.startswith("_") and _is_plain(value)}
            plain.pop("training", None)
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            options = _ADDRESS.sub("", module.extra_repr())
            digest.update(repr((name, kind, options, sorted(plain.items()), hook_digests(module))).encode())
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
        """Evaluation mode, no parameter gradients, channels last; all flags and layouts are restored afterwards."""
        modules = [(module, module.training) for module in self.module.modules()]
        parameters = [(parameter, parameter.requires_grad) for parameter in self.module.parameters()]
        plain = [p for p, _ in parameters if p.ndim == 4 and p.is_contiguous()]
        try:
            self.module.eval().requires_grad_(False)
            self.module.to(memory_format=torch.channels_last)
            yield self
        finally:
            for parameter in plain:
                parameter.data = parameter.data.contiguous()
            for parameter, requires_grad in parameters:
                parameter.requires_grad_(requires_grad)
            for module, training in modules:
                module.training = training


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    """Numbers of any kind, such as an array of float32 or a tensor, as Python's."""
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise NetworkError(f"mean and std need three numbers each, got {values!r}") from None


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
