"""Layers of a frozen network that keep nothing for the backward pass but their weights, and cast those once."""

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_fv.errors import CaptureError
from lightning_fv.networks.conv_gradient import InputGradient, input_gradient


@contextlib.contextmanager
def memory_efficient_layers(
    module: nn.Module, folded: Mapping[nn.Conv2d, nn.BatchNorm2d] = types.MappingProxyType({})
) -> Iterator[None]:
    """While active, the frozen convolutions and BatchNorms in a module keep no activations for the backward pass.

    torch keeps the input of a convolution for the gradient of its weight, and that of a BatchNorm for its statistics; a frozen network
    needs neither: the gradient of a convolution's input depends on its weight alone, that of a BatchNorm in evaluation mode on its scale. Saved for one
    picture of 224 px by torchvision's ResNet50: 40 MB instead of 86; values and gradients are the same. Under autocast the weights of
    convolutions, linear layers and attention are cast once: autocast would keep what it casts only of weights that are trained.

    Layers are left as they are that are of a subclass, have a ``forward`` of their own, pad in another way than with zeros, normalise by their
    batch, or have parameters with gradients.

    Args:
        module: in evaluation mode.
        folded: convolutions that do the work of the BatchNorm behind them, as `lightning_fv.networks.folding.foldable` finds them: it then returns its
            input. Values are the same but for rounding. A convolution with hooks, such as that of `lightning_fv.networks.capture`, gives its own output
            to them, and folded weights lose precision under autocast; then both layers do their own work.
    """
    forwards = {
        layer: forward
        for layer in module.modules()
        if "forward" not in vars(layer) and (forward := _memory_efficient(layer)) is not None
    }
    for conv, norm in folded.items():
        first, second = forwards.get(conv), forwards.get(norm)
        if isinstance(first, _FrozenConv) and isinstance(second, _FrozenBatchNorm):
            first.norm = second
    try:
        for layer, forward in forwards.items():
            vars(layer)["forward"] = forward
        yield
    finally:
        for layer in forwards:
            vars(layer).pop("forward", None)


def _memory_efficient(layer: nn.Module) -> Callable[..., Any] | None:
    if layer.training or any(parameter.requires_grad for parameter in layer.parameters(recurse=False)):
        return None
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return _FrozenConv(layer)
    if type(layer) is nn.BatchNorm2d and layer.running_mean is not None and layer.running_var is not None:
        return _FrozenBatchNorm(layer)
    if type(layer) is nn.Linear:
        return _FrozenLinear(layer)
    if type(layer) is nn.MultiheadAttention:
        return _FrozenAttention(layer)
    return None


def _unusual(x: Tensor) -> bool:
    """Whether an input is not a batch of maps, or belongs to a transform of `torch.func`, which takes no function without rules of its own."""
    return x.ndim != 4 or torch._C._are_functorch_transforms_active()


def _has_gradient_hooks(layer: nn.Module) -> bool:
    return bool(layer._backward_hooks or layer._backward_pre_hooks)


class _Cache:
    """What was computed from a layer's weights, valid while ``key`` is the same tensor on the same device; a copy of the layer has its own."""

    def __init__(self) -> None:
        self._key: Tensor | None = None
        self._device: torch.device | None = None
        self._value: Any = None

    def get(self, key: Tensor, make: Callable[[], Any]) -> Any:
        if self._key is not key or self._device != key.device:
            with torch.no_grad(), torch.inference_mode(False):
                self._value = make()
            self._key, self._device = key, key.device
        return self._value

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Cache":
        return _Cache()


class _Cast:
    """Parameters in the type that autocast is about to cast them to."""

    def __init__(self) -> None:
        self._known: dict[str, Tensor | None] = {}

    def __call__(self, parameters: Mapping[str, Tensor | None]) -> dict[str, Any]:
        device = next(parameter.device for parameter in parameters.values() if parameter is not None)
        kind = torch.get_autocast_dtype(device.type)
        if not any(cast is not None and cast.dtype == kind and cast.device == device for cast in self._known.values()):
            with torch.no_grad(), torch.inference_mode(False):
                self._known = {name: None if p is None else p.detach().to(kind) for name, p in parameters.items()}
        return self._known

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Cast":
        return _Cast()


class _FrozenConv:
    """The forward of a convolution, and of the BatchNorm behind it where it can do its work.

    Attributes:
        norm: that BatchNorm's forward; None if there is none to be folded.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer = layer
        self._cast = _Cast()
        self._folded, self._gradient = _Cache(), _Cache()
        self.norm: _FrozenBatchNorm | None = None

    def __call__(self, x: Tensor) -> Tensor:
        layer, norm = self._layer, self.norm
        if _unusual(x):
            return nn.Conv2d.forward(layer, x)
        autocast = torch.is_autocast_enabled(x.device.type)
        # The rounding of folded weights to bfloat16 would double the error of a demo network's logits.
        if norm is not None and (autocast or layer._forward_hooks or _has_gradient_hooks(layer) or norm.is_watched()):
            norm = None
        parameters: Mapping[str, Any] = layer._parameters if norm is None else self._fold(norm)
        if autocast:
            parameters, x = self._cast(parameters), x.to(torch.get_autocast_dtype(x.device.type))
        weight, bias = parameters["weight"], parameters["bias"]
        if x.requires_grad and torch.is_grad_enabled():
            gradient = self._gradient.get(weight, lambda: input_gradient(layer, weight.detach()))
            result: Tensor = _Conv.apply(
                x, weight, bias, gradient, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        else:
            result = F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        if norm is not None:
            norm.done = result
        return result

    def _fold(self, norm: "_FrozenBatchNorm") -> Mapping[str, Tensor]:
        """Weight and bias of both layers."""
        weight, bias = self._layer.weight, self._layer.bias
        scale, shift = norm.affine()

        def both() -> Mapping[str, Tensor]:
            folded = weight * scale.view(-1, 1, 1, 1)
            moved = shift.flatten() if bias is None else bias * scale.flatten() + shift.flatten()
            return {"weight": folded.to(weight.dtype), "bias": moved.to(weight.dtype)}

        found: Mapping[str, Tensor] = self._folded.get(scale, both)
        return found


class _FrozenLinear:
    """The forward of a linear layer."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer, self._cast = layer, _Cast()

    def __call__(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return nn.Linear.forward(self._layer, x)
        return F.linear(x, **self._cast(self._layer._parameters))


class _FrozenAttention:
    """The forward of an attention layer, which passes its parameters, and those of the layer after it, to one function."""

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        self._layer = layer
        self._casts = [(part, _Cast()) for part in (layer, layer.out_proj)]

    def __call__(self, query: Tensor, *args: Any, **options: Any) -> Any:
        if not torch.is_autocast_enabled(query.device.type):
            return nn.MultiheadAttention.forward(self._layer, query, *args, **options)
        own = [part._parameters for part, _ in self._casts]
        try:
            for part, cast in self._casts:
                vars(part)["_parameters"] = cast(part._parameters)
            return nn.MultiheadAttention.forward(self._layer, query, *args, **options)
        finally:
            for (part, _), parameters in zip(self._casts, own, strict=True):
                vars(part)["_parameters"] = parameters


class _FrozenBatchNorm:
    """The forward of a BatchNorm in evaluation mode, one multiply-add, or none after a convolution that has done it.

    Attributes:
        done: the output of that convolution, until it comes here; None if there is none.
    """

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        self._layer = layer
        self._affine = _Cache()
        self.done: Tensor | None = None

    def is_watched(self) -> bool:
        """Whether somebody looks at what it is given, or at gradients."""
        return bool(self._layer._forward_pre_hooks) or _has_gradient_hooks(self._layer)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift, (1, C, 1, 1) each."""
        layer = self._layer

        def computed() -> tuple[Tensor, Tensor]:
            assert layer.running_mean is not None
            assert layer.running_var is not None
            scale = torch.rsqrt(layer.running_var.float() + layer.eps)
            scale = scale if layer.weight is None else layer.weight * scale
            shift = -layer.running_mean * scale
            shift = shift if layer.bias is None else layer.bias + shift
            return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)

        assert layer.running_mean is not None
        found: tuple[Tensor, Tensor] = self._affine.get(layer.running_mean, computed)
        return found

    def __call__(self, x: Tensor) -> Tensor:
        if self.done is not None:
            done, self.done = self.done, None
            if x is not done:
                raise CaptureError(
                    "a BatchNorm was not given the output of the convolution before it, as it was when the network was "
                    "examined; the forward of the network must not depend on anything but its input's shape"
                )
            return x
        if _unusual(x):
            return nn.BatchNorm2d.forward(self._layer, x)
        scale, shift = self.affine()
        if not (x.requires_grad and torch.is_grad_enabled()):
            return torch.addcmul(shift, x, scale).to(x.dtype)
        result: Tensor = _Scale.apply(x, scale, shift)
        return result


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gradient: InputGradient, *options: Any
    ) -> Tensor:
        ctx.gradient, ctx.shape = gradient, x.shape
        return F.conv2d(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.gradient(grads[0], ctx.shape), *[None] * 7


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.scale = scale
        return torch.addcmul(shift, x, scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return (grads[0] * ctx.scale).to(grads[0].dtype), None, None
