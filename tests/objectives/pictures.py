"""Pictures with objects, since photos are not ours to ship."""

import functools

from torch import Tensor

from lightning_fv import load_network, render


@functools.cache
def rendered() -> Tensor:
    """A beacon and a pizza, as the demo network sees them, (2, 3, 64, 64)."""
    return render("demo", "logits:beacon+logits:pizza", steps=48, progress=False).images


def logits(images: Tensor, *categories: str) -> Tensor:
    """The logit of a category for each picture, (B,)."""
    network = load_network("demo")
    with network.frozen():
        rows = network(images)
    return rows[range(len(images)), [network.categories.index(name) for name in categories]]
