"""A gradient for units that start dead: ReLUs pass the gradient on where they would block all of it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_RELU = {F.relu, torch.relu, Tensor.relu}
_IN_PLACE = {torch.relu_, Tensor.relu_, F.relu_}
_RELU6 = {F.relu6}
# With the input at which they are least: below it they rise towards 0 as the input falls, so that ascent would lower it for good.
_LOWEST = {F.gelu: -0.7518, F.silu: -1.2785}


class RedirectedReLU(TorchFunctionMode):
    """While active, every ReLU, ReLU6, GELU and SiLU, as module or function, has a redirected gradient.

    The gradient is assumed to be that of an objective to be maximised. Values are unchanged. A picture for which a ReLU
    blocks the whole gradient, for example because noise does not excite the unit, gets the gradient that reaches the ReLU instead, except
    where following it would push inputs further below zero (Lucid's "redirected ReLU gradient"). Pictures with any
    gradient passing the ReLU keep the ordinary one. GELU and SiLU block nothing, but lead the wrong way where the input is below that of
    their least value, as noise has it for many a unit: there they are taken as blocked.

    Args:
        rows: (B,) bool, which pictures of the batch to redirect; all by default, and in a ReLU whose first axis is not the
            batch (windows, tokens).

    >>> x = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    >>> with RedirectedReLU():
    ...     objective = torch.relu(x).sum()
    >>> objective.backward()
    >>> x.grad
    tensor([[1., 1.]])
    """

    def __init__(self, rows: Tensor | None = None) -> None:
        super().__init__()
        self.rows = rows

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _LOWEST and not kwargs.get("inplace", False):
            return _RedirectedDip.apply(args[0] if args else kwargs["input"], func, args[1:], kwargs, self.rows)
        if func not in _RELU and func not in _IN_PLACE and func not in _RELU6:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        top = 6.0 if func in _RELU6 else torch.inf
        y = _Redirected.apply(x, top, self.rows)
        in_place = func in _IN_PLACE or kwargs.get("inplace", False) or (len(args) > 1 and args[1])
        # A caller may ignore the result and use the tensor that it passed.
        return x.copy_(y) if in_place else y


class _Redirected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float, rows: Tensor | None) -> Tensor:
        ctx.rows = rows if rows is not None and len(rows) == len(x) else None
        ctx.save_for_backward(x <= 0, x >= top)  # masks, so that x may be changed in place afterwards
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = grads
        below, above = ctx.saved_tensors
        ordinary = gradient.masked_fill(below | above, 0)
        # The gradient is that of an objective: where it is negative, ascent lowers x.
        redirected = gradient.masked_fill((below & (gradient < 0)) | (above & (gradient > 0)), 0)
        blocked = (ordinary == 0).reshape(ordinary.shape[0], -1).all(1)  # an objective's own ReLU sees (B,)
        if ctx.rows is not None:
            blocked = blocked & ctx.rows
        return torch.where(blocked.view(-1, *[1] * (gradient.ndim - 1)), redirected, ordinary), None, None


class _RedirectedDip(torch.autograd.Function):
    """A nonlinearity that falls to a least value, and rises to 0 on the left of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, func: Any, args: Any, kwargs: Any, rows: Tensor | None) -> Tensor:
        ctx.rows = rows if rows is not None and len(rows) == len(x) else None
        ctx.lowest = _LOWEST[func]
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            y: Tensor = func(inner, *args, **{key: value for key, value in kwargs.items() if key != "input"})
        ctx.inner, ctx.outer = inner, y
        return y.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grads
        (ordinary,) = torch.autograd.grad(ctx.outer, ctx.inner, gradient)
        below = ctx.inner <= ctx.lowest
        blocked = (gradient.masked_fill(below, 0) == 0).reshape(len(gradient), -1).all(1)
        if ctx.rows is not None:
            blocked = blocked & ctx.rows
        redirected = gradient.clamp_min(0)
        chosen = blocked.view(-1, *[1] * (gradient.ndim - 1)) & below
        return torch.where(chosen, redirected, ordinary), None, None, None, None
