"""Networks by name."""

from pathlib import Path

from lightning_fv.errors import NetworkError, nearest
from lightning_fv.networks.base import VisionNetwork

NAMES = ("demo",)


def load_network(name: str, weights: str | Path | None = "default") -> VisionNetwork:
    """Load a network with its weights, preprocessing and class names, ready to look at: evaluation mode, frozen.

    Args:
        name: ``demo``, the embedded network of 24 classes of photos at 64 px.
        weights: ``"default"`` for the published ones, None for an untrained network, or a path to a file.

    Returns:
        The network; called on (B, 3, H, W) pictures in [0, 1] it gives logits (B, classes).

    Raises:
        NetworkError: no network of that name.
        CheckpointError: the weights are missing, damaged or of another architecture.
    """
    if name != "demo":
        near = nearest(name, NAMES)
        raise NetworkError(
            f"no network {name!r}; {f'did you mean {near[0]}?' if near else f'known: {chr(44).join(NAMES)}'}"
        )
    from lightning_fv.networks.demo import load_demo  # here: torchvision takes a second to import

    network = load_demo(weights)
    network.module.eval().requires_grad_(False)
    return network
