"""A frozen network with its preprocessing, memory format and class names."""

import contextlib
import dataclasses
import hashlib
import pickle
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.errors import CaptureError, NetworkError
from lightning_fv.functional import resize_images
from lightning_fv.networks.capture import LayerInfo, capture, parse_layer, probe
from lightning_fv.networks.modules import depends_on_its_batch, plain_module


class VisionNetwork:
    """A trained network as a function of pictures in [0, 1].

    Not a Module, so that a LightningModule that holds one neither saves nor trains it, nor switches its mode.

    Args:
        module: maps normalised (B, C, H, W) to logits (B, classes); what `torch.compile` and data parallelism wrap around
            it is left out.
        mean, std: per channel, of the [0, 1] photos that it was trained on; as many numbers as it has channels, three for RGB.
        input_size: (height, width) it was trained at, in pixels; the default size of pictures.
        categories: class names in the order of the logits; may be empty.
        name: what to call it in logs and results.
        fixed_size: whether it accepts only ``input_size`` (most ViTs); other pictures are resized first.
            Detected by `layers` if False.
        channel_axes: channel axis by layer name, where `lightning_fv.networks.capture.channel_axis` cannot infer it.

    Raises:
        NetworkError: mean and std are not as many numbers, a std is not positive, a class name is not text, or the module
            cannot be visualized; see `lightning_fv.networks.modules.plain_module`.
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
        if not 0 < len(mean) == len(std) or min(std) <= 0:
            raise NetworkError(
                f"mean and std need a number each per channel, such as three for RGB, std above 0; got mean {mean}, std {std}"
            )
        for category in categories:
            if not isinstance(category, str) or category.encode(errors="replace").decode() != category:
                raise NetworkError(f"the class name {category!r} is not text that UTF-8 can encode; give another")
        self.module = plain_module(module)
        self.mean, self.std = tuple(mean), tuple(std)
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.categories = tuple(categories)
        self.name = name or type(self.module).__name__
        self.fixed_size = fixed_size
        self.channel_axes = dict(channel_axes or {})
        self._layers: list[LayerInfo] | None = None
        self._axes: dict[str, int | None] = {}
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
                f"{self.name} processes pictures of {self.channels} channels, got {tuple(images.shape)}; mean and std have one "
                "number per channel, and the parameterization has to make as many"
            )
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
            warnings.warn(
                f"{name} of {self.name} normalises by the pictures of its batch, so they change each other; use a batch size of 1",
                stacklevel=3,
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
                "(input_size of VisionNetwork, or --input_size), and mean and std of one number per channel"
            ) from error
        if not torch.equal(random, torch.get_rng_state()):
            torch.set_rng_state(random)
            warnings.warn(
                f"{self.name} draws random numbers in its forward, even in evaluation mode: no picture can be made twice; "
                "look for a dropout that does not ask whether it is training",
                stacklevel=3,
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
        """SHA-256 (hex) over the names and values of all parameters and buffers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            if not isinstance(tensor, Tensor):  # a module's extra state
                digest.update(f"{name} {pickle.dumps(tensor).hex()}".encode())
                continue
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            numbers: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            digest.update(numbers)
        return digest.hexdigest()

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
