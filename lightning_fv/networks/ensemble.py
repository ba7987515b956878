"""Several networks as one: what all of them look for."""

import re
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_fv.errors import NetworkError
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.capture import LOGITS, parse_layer


class EnsembleModule(nn.Module):
    """The members' modules under their names, and the mean of their logits.

    Args:
        members: by name; each prepares pictures in [0, 1] for itself.

    Shape: pictures (B, C, H, W) in [0, 1] -> (B, classes).
    """

    def __init__(self, members: dict[str, VisionNetwork]) -> None:
        super().__init__()
        for name, member in members.items():
            self.add_module(name, member.module)
        self._networks = list(members.values())

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self._networks]).mean(0)


class EnsembleNetwork(VisionNetwork):
    """Several networks as one, so that a picture has to excite them all; what only one of them responds to, averages out.

    Its logits are the mean of theirs. A member's layers have its name before them: ``demo/stylized.layer4`` for that of
    ``demo/stylized``; its logits are the layer ``demo/stylized``. Each member prepares pictures as it was trained, and its forward
    ends after the last layer that is read; a member of which none is read does not run.

    Args:
        members: with the same classes in the same order, for pictures of as many channels.

    Raises:
        NetworkError: fewer than two members, one of them twice, or other classes or channels.
    """

    def __init__(self, members: Sequence[VisionNetwork]) -> None:
        named = {
            re.sub(r"[.:+#@\[\]\s]", "_", member.name): member for member in members
        }  # what layer names are split at
        if len(members) < 2 or len(named) < len(members):
            names = ", ".join(member.name for member in members)
            raise NetworkError(f"an ensemble needs two networks or more, each once, not {names or 'none'}")
        first = members[0]
        for member in members[1:]:
            if member.categories != first.categories or member.channels != first.channels:
                raise NetworkError(
                    f"{first.name} and {member.name} have other classes, or take other pictures: an ensemble needs networks "
                    "with the same class names in the same order"
                )
        for member in members:
            member.layers()  # which finds out whether the size is fixed
        sides = zip(*(member.input_size for member in members), strict=True)
        height, width = (max(side) for side in sides)
        super().__init__(
            EnsembleModule(named),
            mean=[0.0] * first.channels,  # pictures reach the members as they are
            std=[1.0] * first.channels,
            input_size=(height, width),
            categories=first.categories,
            name=f"ensemble:{','.join(member.name for member in members)}",
            photos=first.photos,
        )
        self.members = named

    def capture(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        wanted: dict[str, dict[str, str]] = {name: {} for name in self.members}
        for layer in layers:
            name = parse_layer(layer)[0]
            if name == LOGITS:
                for own in wanted.values():
                    own[layer] = layer
            elif (owner := name.partition(".")[0]) in self.members:
                wanted[owner][layer] = (
                    layer.removeprefix(owner).removeprefix(".") if "." in name else layer.replace(owner, LOGITS, 1)
                )
            else:
                return super().capture(images, layers)  # says what is wrong with the name
        parts: list[dict[str, Tensor]] = []
        for name, own in wanted.items():
            if own:
                parts.append(self.members[name].capture(images, set(own.values())))
                found |= {layer: parts[-1][inner] for layer, inner in own.items()}
        for layer in (layer for layer in layers if parse_layer(layer)[0] == LOGITS):
            found[layer] = torch.stack([part[layer] for part in parts]).mean(0)
        return {layer: found[layer] for layer in layers}

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"members": [member.settings() for member in self.members.values()]}
