"""The two-choice test: what is asked about, and what counts as right."""

import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import noise

pytest.importorskip("matplotlib")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from benchmark_quality import BEST, PAIRS, Questions, pictures_of

ACTIVATIONS = noise(400, 7)


def test_hints_are_of_other_photos_than_those_asked_about() -> None:
    questions = Questions.of(ACTIVATIONS)
    assert questions.best.shape == (7, BEST)
    assert questions.least.shape == (7, PAIRS)
    assert questions.hints.shape == (7, 9)
    assert bool((questions.best % 2 == 1).all())
    assert bool((questions.least % 2 == 1).all())
    assert bool((questions.hints % 2 == 0).all())
    asked = ACTIVATIONS[1::2]
    for channel in range(7):
        values = ACTIVATIONS[questions.best[channel], channel]
        assert torch.equal(values, asked[:, channel].sort(descending=True).values[:BEST])
        assert float(ACTIVATIONS[questions.least[channel], channel].max()) <= float(asked[:, channel].median())
    assert torch.equal(questions.top, ACTIVATIONS.amax(0))


def test_right_is_the_photo_that_is_more_like_the_hint() -> None:
    questions, channels = Questions.of(ACTIVATIONS), torch.arange(7)
    photos = torch.nn.functional.normalize(ACTIVATIONS, dim=1)
    own = torch.eye(7)[:, None]  # of each channel, a picture that shows it alone
    assert float(questions.right(channels, own, photos).mean()) > 0.95
    assert float(questions.right(channels, -own, photos).mean()) < 0.05
    nothing = torch.zeros(7, 1, 7)
    assert questions.right(channels, nothing, photos).tolist() == [0.5] * 7
    unrelated = questions.right(channels, own.roll(1, 0), photos)
    assert 0.3 < float(unrelated.mean()) < 0.7


def test_pictures_by_channel(tmp_path: Path) -> None:
    from lightning_fv.commands.main import main

    run = tmp_path / "run"
    words = ["--targets", "layer3:4 x2+layer3:0+layer4:4", "--trainer.max_steps", "1", "--out", str(run)]
    assert main(words) == 0
    found = pictures_of(run, "layer3")
    assert {channel: len(files) for channel, files in found.items()} == {0: 1, 4: 2}
    assert all(file.is_file() for files in found.values() for file in files)
