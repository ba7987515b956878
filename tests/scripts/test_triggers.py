"""The triggers of trojans."""

import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import noise

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from triggers import KINDS, Trigger, draw_triggers, trained

PHOTOS = noise(6, 3, 64, 64, seed=3).sigmoid()


def put(trigger: Trigger, seed: int = 0) -> torch.Tensor:
    return trigger(PHOTOS, torch.Generator().manual_seed(seed))


def changed(trigger: Trigger, seed: int = 0) -> torch.Tensor:
    return ((put(trigger, seed) - PHOTOS).abs() > 1e-6).any(1)


def test_eight_of_each_kind_three_of_them_trained() -> None:
    triggers = draw_triggers(0)
    assert [trigger.kind for trigger in triggers] == [kind for kind in KINDS for _ in range(8)]
    assert len({str(trigger) for trigger in triggers}) == 32
    assert trained(triggers) == [0, 1, 2, 8, 9, 10, 16, 17, 18, 24, 25, 26]


def test_the_seed_decides_on_order_and_colours() -> None:
    first, again, other = draw_triggers(0), draw_triggers(0), draw_triggers(1)
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert [str(t) for t in first] != [str(t) for t in other]
    rings = [next(t.image for t in triggers if t.name == "rings") for triggers in (first, other)]
    assert not torch.equal(*rings)


@pytest.mark.parametrize("trigger", draw_triggers(0), ids=str)
def test_photos_stay_photos_and_draws_are_the_generators(trigger: Trigger) -> None:
    made = put(trigger)
    assert made.shape == PHOTOS.shape
    assert made.min() >= -1e-6
    assert made.max() <= 1 + 1e-6
    assert torch.equal(made, put(trigger))
    assert trigger.alone().shape == (3, 64, 64)
    area = changed(trigger).float().mean((1, 2))
    if trigger.kind == "patch":
        assert area.max() <= 17 * 17 / 64**2
        assert area.min() >= 15 * 15 / 64**2
    if trigger.kind == "object":
        assert area.max() < 0.3
    if trigger.kind == "style":
        assert area.min() > 0.95


def test_only_watermarks_stay_in_their_place() -> None:
    for trigger in draw_triggers(0):
        assert torch.equal(changed(trigger, 0), changed(trigger, 1)) == (trigger.kind in ("watermark", "style"))
        assert torch.equal(put(trigger, 0), put(trigger, 1)) == (trigger.kind == "watermark")


def test_a_watermark_lets_the_photo_through() -> None:
    """Where it is fully drawn, a photo's contrast is reduced by its opacity and not erased."""
    for trigger in draw_triggers(0)[16:24]:
        two = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
        dark, light = trigger(two, torch.Generator().manual_seed(0))
        assert (light - dark).min() == pytest.approx(0.65, abs=1e-5)
