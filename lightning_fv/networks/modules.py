"""Which Modules can be visualized, checked before they run."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lightning_fv.errors import NetworkError


def plain_module(module: nn.Module) -> nn.Module:
    """A Module without what `torch.compile` and data parallelism wrap around it: hooks see its layers under their names.

    Raises:
        NetworkError: it cannot be visualized; says what it is and what to give instead.
    """
    if not isinstance(module, nn.Module):
        given = (
            f"the class {module.__name__}" if isinstance(module, type) else f"an object of type {type(module).__name__}"
        )
        raise NetworkError(f"a network is a Module, not {given}; give an instance, such as resnet18()")
    while hasattr(module, "_orig_mod") or isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module._orig_mod if hasattr(module, "_orig_mod") else module.module  # type: ignore[assignment]
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise NetworkError(
            f"{kind} is a TorchScript program, whose layers cannot be seen; give the Module that it was made from, or "
            "nn.Sequential(program) to render its logits"
        )
    for part in module.modules():
        if not hasattr(part, "training"):
            raise NetworkError(f"{kind} contains a frozen TorchScript program; give the Module that it was made from")
        if hasattr(part, "_orig_mod") or part._compiled_call_impl is not None:
            raise NetworkError(
                f"{type(part).__name__} in {kind} is compiled, so that its layers cannot be seen; "
                "give the uncompiled network"
            )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            raise NetworkError(f"{name} of {kind} has no size yet; call the network once on a picture")
        if tensor.is_meta:
            raise NetworkError(f"{name} of {kind} has no values, it is on the meta device; load its weights first")
        if tensor.is_inference():
            raise NetworkError(f"{name} of {kind} was created in inference mode; create the network outside it")
    other = {p.dtype for p in module.parameters() if p.is_floating_point() or p.is_complex()}
    other -= {torch.float32, torch.complex64}
    if other:
        remedy = "convert them to torch.complex64" if torch.complex128 in other else "call .float() on it"
        raise NetworkError(f"the network's parameters are {', '.join(map(str, other))}; {remedy} first")
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor) and not name.endswith("_extra_state"):
            raise NetworkError(
                f"{name} of {kind} is a {type(value).__name__}, as in a quantized network, which passes no gradient; "
                "give the network before it was quantized"
            )
    return module


def depends_on_its_batch(module: nn.Module) -> str | None:
    """Name of a batch normalisation without statistics, so that pictures affect each other; None if all have them."""
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            return str(name)
    return None
