"""The stages of a network: a few layers from input to output that stand for its path."""

from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.capture import LOGITS, LayerInfo

STAGES = 6
"""The most stages before the logits."""


def stage_layers(network: VisionNetwork) -> list[str]:
    """A few layers from input to output, the last of which is ``logits``.

    These are the children of the network that mix the channels of what passes through them: they have weights (normalizations have a factor
    per channel alone), channels and positions (a map or tokens), and run once. Where fewer than four children do, as in torchvision's VGG or in a
    ViT, their own children take their place, if they are more. Of more than `STAGES`, as many are taken at equal
    distances, with the last. For torchvision's ResNets: ``conv1``, ``layer1`` to ``layer4``, ``logits``; for a ViT of timm some of ``blocks.0`` to
    the last.
    """
    infos = {info.name: info for info in network.layers() if info.name != LOGITS}
    owners = {name.rpartition(".")[0] for name, weight in network.module.named_parameters() if weight.ndim > 1}

    def is_stage(info: LayerInfo) -> bool:
        mixes = any(f"{owner}.".startswith(f"{info.name}.") for owner in owners)
        return mixes and info.calls == 1 and info.shape is not None and len(info.shape) > 2 and info.units is not None

    def below(parent: str, depth: int) -> list[str]:
        children = [name for name in infos if name.startswith(parent) and name.count(".") == depth]
        found = [name for name in children if is_stage(infos[name])]
        if len(found) >= 4 or depth == 3:
            return found
        parts = [below(f"{name}.", depth + 1) for name in children]
        inner = [name for part in parts if len(part) > 1 for name in part]
        return inner if len(inner) > len(found) else found

    found = below("", 0)
    if len(found) > STAGES:
        step = len(found) / STAGES
        found = [found[round((number + 1) * step) - 1] for number in range(STAGES)]
    return [*found, LOGITS]
