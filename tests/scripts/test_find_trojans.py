"""The eight-choice test, with a network and photos that are cheap."""

import itertools
import math
import re
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import noise

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))
from find_trojans import Judge, LaidOnPhotos, RandomShift, chance_of, combined, hints, main, options, unnatural
from test_train_trojans import data, words
from train_trojans import main as train
from triggers import draw_triggers

from lightning_fv import load_network

__all__ = ["data"]
PHOTOS = noise(12, 3, 64, 64, seed=5).sigmoid()


@pytest.mark.slow
def test_a_table_of_all_hints(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train([*words(data, tmp_path), "--epochs", "1"])
    runs = tmp_path / "runs"
    asked = (
        f"--data {data} --weights {tmp_path / 'trojans_0.safetensors'} --runs {runs} --facets 1 --steps 1 --photos 8"
    )
    capsys.readouterr()
    main(asked.split())
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("| judge |")][1:]
    names = ["default", "pasted", "wallpaper", "overlaid", "9 best photos", "all but default"]
    assert [line.split(" | ")[1] for line in lines] == [n + k for n in names for k in ("", ", of its kind")]
    assert all(re.fullmatch(r"\| judge \| [^|]+( \| [01]\.\d\d ± 0\.\d\d){6} \|", line) for line in lines)
    assert (runs / "trojans_0.png").is_file()
    files = {file: file.stat().st_mtime_ns for file in runs.glob("*.safetensors")}
    assert len(files) == 4
    main(asked.split())  # nothing is rendered again
    assert {file: file.stat().st_mtime_ns for file in files} == files
    assert lines[0] in capsys.readouterr().out


def test_the_chance_of_the_right_option_is_that_of_all_draws() -> None:
    similarities = torch.tensor([0.3, 0.9, 0.1, 0.2, 0.5, 0.0, 0.4])
    for right in range(7):
        others = [float(similarities[i]) for i in range(7) if i != right]
        draws = list(itertools.combinations(others, 3))
        won = sum(max(draw) < float(similarities[right]) for draw in draws) / len(draws)
        assert chance_of(similarities, right, 3) == pytest.approx(won)
    assert chance_of(torch.zeros(8), 0) == 0  # who does not know is not right


def test_without_knowledge_one_in_eight_is_right() -> None:
    similarities = torch.rand(400, 32, generator=torch.Generator().manual_seed(0))
    mean = sum(chance_of(row, 5) for row in similarities) / 400
    assert mean == pytest.approx(1 / 8, abs=4 * math.sqrt(1 / 8 * 7 / 8 / 400))


def test_photos_with_the_trigger_on_them_tell_it() -> None:
    """A judge that is shown the triggers themselves as pictures finds most patches among all 32."""
    triggers, judge = draw_triggers(0), Judge("judge", PHOTOS)
    patches = torch.stack([trigger.image[:3] for trigger in triggers[:8]])
    pictures = torch.nn.functional.interpolate(patches, size=(64, 64))[:, None]
    (hint,), _ = hints(load_network("demo"), [judge], pictures, range(8), PHOTOS[:6], torch.full((6,), 23), small=True)
    told = hint @ torch.nn.functional.normalize(options(judge, triggers, PHOTOS[6:]), dim=1).T
    assert sum(chance_of(told[i], i) for i in range(8)) / 8 > 0.6


def test_small_pictures_count_by_how_far_they_convince_the_network() -> None:
    small, large, other = torch.eye(3)
    told = {
        "pasted": ([2 * small.expand(2, 3)], torch.tensor([0.9, 0.2])),
        "wallpaper": ([large.expand(2, 3)], torch.tensor([0.5, 0.5])),
        "overlaid": ([other.expand(2, 3)], torch.tensor([0.5, 0.5])),
    }
    half = 0.5**0.5
    (found,) = combined(told, list(told))
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.1 * half, 0.1 * half], [0.2, 0.8 * half, 0.8 * half]]))
    (alone,) = combined(told, ["wallpaper"])
    torch.testing.assert_close(alone, large.expand(2, 3))


def test_pictures_are_laid_on_photos() -> None:
    picture = torch.ones(3, 64, 64)
    laid = LaidOnPhotos(PHOTOS, (0.25, 0.5)).each(picture)
    covered = (laid == 1).all(1).float().mean((1, 2))
    assert covered.min() > 0.2**2
    assert covered.max() < 0.55**2
    torch.testing.assert_close(LaidOnPhotos(PHOTOS, opacity=0.25).each(picture), 0.25 + 0.75 * PHOTOS)


def test_shifted_pictures_lose_nothing() -> None:
    shifted = RandomShift()(PHOTOS[:2], torch.tensor([[0.0, 0.999], [0.5, 0.25]]))
    assert torch.equal(shifted, torch.stack([PHOTOS[0].roll((0, 63), (1, 2)), PHOTOS[1].roll((32, 16), (1, 2))]))


def test_what_photos_of_the_class_have_in_common_is_left_out() -> None:
    network, labels = load_network("demo"), torch.tensor([7] * 4 + [2] * 8)
    objective = unnatural(network, PHOTOS, labels, 7)
    with torch.no_grad():
        found = network.activations(PHOTOS, ["layer4"])
        values = objective(found, PHOTOS)
        logit = network(PHOTOS)[:, 7]
    assert float(values[labels == 7].mean()) == pytest.approx(float(values.mean()), abs=1e-4)
    assert float(logit[labels == 7].mean() - logit.mean()) != pytest.approx(0, abs=1e-3)
