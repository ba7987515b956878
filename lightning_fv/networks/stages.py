"""The stages of a network: a few layers from input to output that stand for its path."""

from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.capture import LOGITS, LayerInfo

STAGES = 6
"""The most stages before the logits."""


def stage_layers(network: VisionNetwork) -> list[str]:
    """A few layers from input to output, the last of which is ``logits``.

    These are the children of the network that change what passes through them: they have parameters, channels and positions (a map or tokens), and run
    once. A child that is a container of a sequence of such modules (``features``, ``blocks``) gives its own children instead, unless there are other stages
    already. Of more than `STAGES`, as many are taken at equal distances, with the last. For torchvision's ResNets: ``conv1``, ``layer1`` to
    ``layer4``, ``logits``; for a ViT of timm some of ``blocks.0`` to the last.
    """
    infos = {info.name: info for info in network.layers()}
    weighted = {name.rpartition(".")[0] if "." in name else "" for name, _ in network.module.named_parameters()}

    def has_parameters(name: str) -> bool:
        return any(owner == name or owner.startswith(f"{name}.") for owner in weighted)

    def is_stage(info: LayerInfo) -> bool:
        positions = info.shape is not None and len(info.shape) > 2 and info.units is not None
        return positions and info.calls == 1 and has_parameters(info.name)

    def below(parent: str, depth: int) -> list[str]:
        children = [name for name in infos if name.startswith(parent) and name.count(".") == depth and name != LOGITS]
        found = [name for name in children if is_stage(infos[name])]
        if (
            len(found) < 4 and depth < 3
        ):  # a container, as in torchvision's VGG, or in a ViT, whose patches are cut by a layer before
            inner = [
                below(f"{name}.", depth + 1)
                for name in children
                if any(other.startswith(f"{name}.") for other in infos)
            ]
            deepest = max(inner, key=len, default=[])
            return deepest if len(deepest) > len(found) else found
        return found

    found = below("", 0)
    if len(found) > STAGES:
        step = len(found) / STAGES
        found = [found[round((number + 1) * step) - 1] for number in range(STAGES)]
    return [*found, LOGITS]
