"""Layers of a frozen network that keep nothing for the backward pass but their weights, and cast those once."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextlib.contextmanager
def memory_efficient_layers(module: nn.Module) -> Iterator[None]:
    """While active, the frozen convolutions and BatchNorms in a module keep no activations for the backward pass.

    torch keeps the input of a convolution for the gradient of its weight, and that of a BatchNorm for its statistics; a frozen network
    needs neither: the gradient of a convolution's input depends on its weight alone, that of a BatchNorm in evaluation mode on its scale. Saved for one
    picture of 224 px by torchvision's ResNet50: 40 MB instead of 86; values and gradients are the same. Under autocast the weights of
    convolutions, linear layers and attention are cast once: autocast would keep what it casts only of weights that are trained.

    Layers are left as they are that are of a subclass, have a ``forward`` of their own, pad in another way than with zeros, normalise by their
    batch, or have parameters with gradients.

    Args:
        module: in evaluation mode.
    """
    changed = []
    try:
        for layer in module.modules():
            forward = _memory_efficient(layer)
            if forward is not None and "forward" not in vars(layer):
                vars(layer)["forward"] = forward
                changed.append(layer)
        yield
    finally:
        for layer in changed:
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


class _Cast:
    """A layer's parameters in the type that autocast is about to cast them to.

    Args:
        layer: whose own parameters they are.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self._known: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        own = self._layer._parameters
        device = next(parameter.device for parameter in own.values() if parameter is not None)
        kind = torch.get_autocast_dtype(device.type)
        if not any(cast is not None and cast.dtype == kind and cast.device == device for cast in self._known.values()):
            with torch.no_grad(), torch.inference_mode(False):
                self._known = {name: None if found is None else found.detach().to(kind) for name, found in own.items()}
        return self._known


class _FrozenConv:
    """The forward of a convolution."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer, self._cast = layer, _Cast(layer)

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        if _unusual(x):
            return nn.Conv2d.forward(layer, x)
        weight, bias = layer.weight, layer.bias
        if torch.is_autocast_enabled(x.device.type):
            cast = self._cast()
            weight, bias, x = cast["weight"], cast["bias"], x.to(torch.get_autocast_dtype(x.device.type))
        if not (x.requires_grad and torch.is_grad_enabled()):
            return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        result: Tensor = _Conv.apply(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return result


class _FrozenLinear:
    """The forward of a linear layer."""

    def __init__(self, layer: nn.Linear) -> None:
        self._layer, self._cast = layer, _Cast(layer)

    def __call__(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return nn.Linear.forward(self._layer, x)
        return F.linear(x, **self._cast())


class _FrozenAttention:
    """The forward of an attention layer, which passes its parameters, and those of the layer after it, to one function."""

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        self._layer = layer
        self._casts = [(part, _Cast(part)) for part in (layer, layer.out_proj)]

    def __call__(self, query: Tensor, *args: Any, **options: Any) -> Any:
        if not torch.is_autocast_enabled(query.device.type):
            return nn.MultiheadAttention.forward(self._layer, query, *args, **options)
        own = [part._parameters for part, _ in self._casts]
        try:
            for part, cast in self._casts:
                vars(part)["_parameters"] = cast()
            return nn.MultiheadAttention.forward(self._layer, query, *args, **options)
        finally:
            for (part, _), parameters in zip(self._casts, own, strict=True):
                vars(part)["_parameters"] = parameters


class _FrozenBatchNorm:
    """The forward of a BatchNorm in evaluation mode, one multiply-add."""

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        self._layer = layer
        self._known: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        if _unusual(x):
            return nn.BatchNorm2d.forward(layer, x)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        if self._known is None or self._known[0] is not layer.running_mean:  # moved to another device
            with torch.no_grad(), torch.inference_mode(False):
                scale = torch.rsqrt(layer.running_var.float() + layer.eps)
                scale = scale if layer.weight is None else layer.weight * scale
                shift = -layer.running_mean * scale
                shift = shift if layer.bias is None else layer.bias + shift
                self._known = layer.running_mean, scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)
        _, scale, shift = self._known
        if not (x.requires_grad and torch.is_grad_enabled()):
            return torch.addcmul(shift, x, scale).to(x.dtype)
        result: Tensor = _Scale.apply(x, scale, shift)
        return result


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        ctx.weight, ctx.options, ctx.shape = weight, options, x.shape
        return F.conv2d(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        stride, padding, dilation, groups = ctx.options
        shape_alone = ctx.weight.new_empty(1).expand(ctx.shape)  # of the input, whose values are not needed
        gradient, *_ = torch.ops.aten.convolution_backward(
            grads[0],
            shape_alone,
            ctx.weight,
            None,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            [True, False, False],
        )
        return gradient, *[None] * 6


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.scale = scale
        return torch.addcmul(shift, x, scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return (grads[0] * ctx.scale).to(grads[0].dtype), None, None
