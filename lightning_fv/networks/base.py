"""A frozen network with its door: normalisation, memory format, class names."""

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from lightning_fv.capture import LayerInfo, capture, probe
from lightning_fv.errors import NetworkError


class VisionNetwork:
    """A trained network as a function of pictures in [0, 1].

    Not a Module, so that a LightningModule that holds one neither saves, trains nor flips it.

    Args:
        module: maps normalised (B, 3, H, W) to logits (B, classes).
        mean, std: per RGB channel, of the [0, 1] photos that it was trained on.
        input_size: (height, width) it was trained at, in pixels; the default size of pictures.
        categories: class names in the order of the logits, or nothing.
        name: what to call it in logs and results.

    Raises:
        NetworkError: mean or std are not three numbers, or a std is not positive.
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
    ) -> None:
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise NetworkError(f"mean and std need three numbers each, std above 0; got mean {mean}, std {std}")
        self.module = module
        self.mean, self.std = tuple(mean), tuple(std)
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.categories = tuple(categories)
        self.name = name or type(module).__name__
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
        """Pictures in [0, 1] -> what the module takes: normalised, channels last in memory."""
        if self._scale.device != images.device:
            self._scale, self._shift = self._scale.to(images.device), self._shift.to(images.device)
        return torch.addcmul(self._shift, images.contiguous(memory_format=torch.channels_last), self._scale)

    def capture(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """What the named layers give for pictures in [0, 1]; see `lightning_fv.capture.capture`."""
        return capture(self.module, self.preprocess(images), layers)

    def layers(self, size: tuple[int, int] | None = None) -> list[LayerInfo]:
        """The network's layers in running order, from one forward of a grey picture of ``size`` (its own by default)."""
        with self.frozen():
            grey = torch.full((1, 3, *(size or self.input_size)), 0.5, device=self.device)
            return probe(self.module, self.preprocess(grey))

    def digest(self) -> str:
        """SHA-256 (hex) over the names and values of all parameters and buffers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "VisionNetwork":
        """Move the module to a device, in place; returns itself."""
        self.module.to(device)
        return self

    @contextlib.contextmanager
    def frozen(self) -> Iterator["VisionNetwork"]:
        """Evaluation mode, no parameter gradients, channels last; afterwards all flags and layouts are as before."""
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
