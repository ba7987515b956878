"""The two-choice test: what is asked about, and what counts as right."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_fv.functional import TwoChoiceTrials, two_choice
from tests.helpers import noise

ACTIVATIONS = noise(400, 7)
CHANNELS = torch.arange(7)
PHOTOS = torch.nn.functional.normalize(ACTIVATIONS, dim=1)
OWN = torch.eye(7)[:, None]
"""Of each channel, a picture that shows it alone."""


def equal(one: TwoChoiceTrials, other: TwoChoiceTrials) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("best", "least", "hints", "top"))


def test_hints_are_of_other_photos_than_those_asked_about() -> None:
    trials = TwoChoiceTrials.of(ACTIVATIONS, pairs=15, hints=4)
    assert trials.best.shape == (7, 15)
    assert trials.least.shape == (7, 15)
    assert trials.hints.shape == (7, 4)
    assert bool((trials.best % 2 == 1).all())
    assert bool((trials.least % 2 == 1).all())
    assert bool((trials.hints % 2 == 0).all())
    asked, giving = ACTIVATIONS[1::2], ACTIVATIONS[::2]
    for channel in range(7):
        values = ACTIVATIONS[trials.best[channel], channel]
        assert torch.equal(values, asked[:, channel].sort(descending=True).values[:15])
        assert float(ACTIVATIONS[trials.least[channel], channel].max()) <= float(asked[:, channel].median())
        values = ACTIVATIONS[trials.hints[channel], channel]
        assert torch.equal(values, giving[:, channel].sort(descending=True).values[:4])
    assert torch.equal(trials.top, ACTIVATIONS.amax(0))


def test_right_is_the_photo_that_is_more_like_the_hint() -> None:
    trials = TwoChoiceTrials.of(ACTIVATIONS)
    assert float(trials.right(CHANNELS, OWN, PHOTOS).mean()) > 0.95
    assert float(trials.right(CHANNELS, -OWN, PHOTOS).mean()) < 0.05
    nothing = torch.zeros(7, 1, 7)
    assert trials.right(CHANNELS, nothing, PHOTOS).tolist() == [0.5] * 7
    unrelated = trials.right(CHANNELS, OWN.roll(1, 0), PHOTOS)
    assert 0.3 < float(unrelated.mean()) < 0.7


def test_it_counts_pair_by_pair() -> None:
    trials, hints = TwoChoiceTrials.of(ACTIVATIONS), noise(7, 3, 7, seed=1)
    found = trials.right(CHANNELS, hints, PHOTOS)
    for unit in range(7):
        alike = (PHOTOS.double() @ hints[unit].double().T).mean(1)
        pairs = zip(trials.best[unit].tolist(), trials.least[unit].tolist(), strict=True)
        assert float(found[unit]) == pytest.approx(np.mean([alike[b] > alike[w] for b, w in pairs]))


def test_blocks_of_a_memory_map_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.lib.format.open_memmap(tmp_path / "activations.npy", "w+", np.float32, (400, 7))
    array[:] = ACTIVATIONS.numpy()
    whole = TwoChoiceTrials.of(ACTIVATIONS)
    shares = whole.right(CHANNELS, OWN, PHOTOS)
    monkeypatch.setattr(two_choice, "BLOCK", 3)
    assert equal(TwoChoiceTrials.of(np.load(tmp_path / "activations.npy", mmap_mode="r")), whole)
    assert torch.equal(whole.right(CHANNELS, OWN, PHOTOS), shares)


def test_the_seed_draws_other_pairs_only() -> None:
    first, again, other = (TwoChoiceTrials.of(ACTIVATIONS, seed=seed) for seed in (0, 0, 1))
    assert equal(first, again)
    assert torch.equal(first.best, other.best)
    assert not torch.equal(first.least, other.least)


def broken(tensor: Tensor, *place: int) -> Tensor:
    tensor = tensor.clone()
    tensor[place] = torch.nan
    return tensor


def test_nan_is_no_answer() -> None:
    only_2 = [unit == 2 for unit in range(7)]
    trials = TwoChoiceTrials.of(broken(ACTIVATIONS, 5, 2))
    assert trials.right(CHANNELS, OWN, PHOTOS).isnan().tolist() == only_2
    trials = TwoChoiceTrials.of(ACTIVATIONS)
    assert trials.right(CHANNELS, broken(OWN, 2, 0, 4), PHOTOS).isnan().tolist() == only_2
    photo = int(trials.best[2, 0])
    shown = [photo in trials.best[unit].tolist() + trials.least[unit].tolist() for unit in range(7)]
    assert trials.right(CHANNELS, OWN, broken(PHOTOS, photo, 0)).isnan().tolist() == shown


def test_too_few_photos_are_refused() -> None:
    TwoChoiceTrials.of(ACTIVATIONS[:80])
    with pytest.raises(ValueError, match="20 pairs and 9 hints take at least 80 photos, not 79"):
        TwoChoiceTrials.of(ACTIVATIONS[:79])
    with pytest.raises(ValueError, match="1 pairs and 9 hints take at least 17 photos, not 16"):
        TwoChoiceTrials.of(ACTIVATIONS[:16], pairs=1)
