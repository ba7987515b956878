from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_fv import load_network, render
from lightning_fv.errors import TargetError
from lightning_fv.objectives import Channel, Facets, Logit, interpolation
from lightning_fv.parameterizations import Shared
from tests.helpers import noise

ENDS = (11, 3)


def test_the_weights_go_from_one_to_the_other() -> None:
    seen = {"maps": noise(1, 6, 5, 3, seed=1)}
    first, last = Channel("maps", 1), Channel("maps", 4)
    a, b = (float(end(seen, noise(1, 3, 9, 7))) for end in (first, last))
    found = interpolation(first, last, 5)
    values = [float(objective(seen, noise(1, 3, 9, 7))) for objective in found]
    assert values == pytest.approx([a, 0.75 * a + 0.25 * b, (a + b) / 2, 0.25 * a + 0.75 * b, b])
    assert found[0] is first
    assert found[-1] is last
    assert len({objective.key for objective in found}) == 5
    assert interpolation(first, last, 2) == [first, last]


def test_what_is_no_interpolation() -> None:
    for count in (0, 1, 65):
        with pytest.raises(TargetError, match="2 to 64 pictures"):
            interpolation(Logit(1), Logit(2), count)
    for wrong in (Facets(Logit(1), 2), 3):
        with pytest.raises(TargetError, match="two objectives"):
            interpolation(Logit(1), wrong, 3)  # type: ignore[arg-type]


def neighbours(images: Tensor) -> float:
    """Mean correlation of the coarse shapes of neighbours."""
    coarse = torch.nn.functional.avg_pool2d(images, 8).flatten(1)
    return float(torch.corrcoef(coarse).diagonal(1).mean())


def test_neighbours_share_their_shapes_and_the_logits_change_over() -> None:
    network = load_network("demo")
    targets = interpolation(Logit(ENDS[0]), Logit(ENDS[1]), 5)
    options: dict[str, Any] = {"steps": 40, "progress": False}
    alone, aligned = (render(network, targets, **options, **more) for more in ({}, {"parameterization": Shared(5)}))
    assert neighbours(aligned.images) > neighbours(alone.images) + 0.15
    with network.frozen(), torch.no_grad():
        logits = network(aligned.images)[:, list(ENDS)]
    assert float(logits[0, 0]) > float(logits[-1, 0]) + 5
    assert float(logits[-1, 1]) > float(logits[0, 1]) + 5
    others = interpolation(Logit(5), Logit(6), 5)  # of other groups, in other jobs
    again = render(network, [*others, *targets], **options, parameterization=Shared(5), batch_size=5)
    assert torch.equal(again.images[5:], aligned.images)
