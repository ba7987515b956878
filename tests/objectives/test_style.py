from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from lightning_fv import load_network, render
from lightning_fv.commands.main import main
from lightning_fv.objectives import Style, stack_objectives
from tests.helpers import assert_gradient, noise, save_picture, smooth_photos
from tests.objectives.pictures import rendered
from tests.processes import pictures

PHOTO = smooth_photos(12, 10)[0]
NAME = "maps of the photo"
FOUND, WANTED, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 6, 5, 3, seed=2), noise(4, 3, 9, 7)


def expected(found: Tensor) -> list[float]:
    """By the formula, channel by channel, in numpy."""

    def gram(maps: Tensor) -> np.ndarray:
        a = maps.double().numpy()
        return np.array([[(a[i] * a[j]).mean() for j in range(len(a))] for i in range(len(a))])

    grams = [(gram(a), gram(p)) for a, p in zip(found, WANTED, strict=True)]
    return [float(-((a - p) ** 2).sum() / (p**2).sum()) for a, p in grams]


def test_the_squared_distance_of_gram_matrices_relative_to_the_photo() -> None:
    style = Style("maps", PHOTO)
    np.testing.assert_allclose(style({"maps": FOUND, NAME: WANTED}, IMAGES), expected(FOUND), rtol=1e-5)
    np.testing.assert_allclose(style({"maps": 0 * WANTED, NAME: WANTED}, IMAGES), [-1] * 4, rtol=1e-6)
    assert bool(style({"maps": FOUND, NAME: 0 * WANTED}, IMAGES).isfinite().all())
    large = style({"maps": 1e9 * FOUND, NAME: 1e9 * WANTED}, IMAGES)  # whose Gram matrices squared are beyond float32
    np.testing.assert_allclose(large, expected(FOUND), rtol=1e-5)


def test_it_does_not_tell_where_in_the_picture_things_are() -> None:
    moved = WANTED.flip(3).roll(2, dims=2)
    np.testing.assert_allclose(Style("maps", PHOTO)({"maps": moved, NAME: WANTED}, IMAGES), [0] * 4, atol=1e-10)


def test_its_gradient() -> None:
    maps = FOUND.double().requires_grad_()
    value = Style("maps", PHOTO)({"maps": maps, NAME: WANTED.double()}, IMAGES)
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    assert_gradient(gradient, expected, FOUND, ((0, 1, 2, 1), (3, 5, 0, 0)), rel=1e-4)


def test_it_is_computed_in_float32_in_mixed_precision() -> None:
    style, seen = Style("maps", PHOTO), {"maps": FOUND, NAME: WANTED}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = style(seen, IMAGES)
    assert torch.equal(mixed, style(seen, IMAGES))


def test_a_batch_is_one_call_whatever_the_photos() -> None:
    both = [Style("maps", photo) for photo in smooth_photos(12, 10)]
    ((rows, stack),) = stack_objectives(both)
    assert rows == [0, 1]
    np.testing.assert_allclose(stack({"maps": FOUND[:2], NAME: WANTED[:2]}, IMAGES[:2]), expected(FOUND)[:2], rtol=1e-5)
    assert len(stack_objectives([both[0], Style("other", PHOTO)])) == 2


def test_a_picture_takes_the_style_of_its_photo() -> None:
    photos, network = rendered(), load_network("demo")
    targets = [Style("layer1", photo) + Style("layer2", photo) for photo in photos]
    before = render(network, targets, steps=1, progress=False).scores
    after = render(network, targets, steps=32, progress=False)
    assert bool((after.scores > 0.2 * before).all())
    other = [Style("layer2", photo) for photo in photos.flip(0)]
    with network.frozen(), torch.no_grad():
        seen, shown = (network.activations(x, ["layer2"])["layer2"] for x in (after.images, photos))
        own, others = (
            style({"layer2": seen, "layer2 of the photo": to}, photos)
            for style, to in ((other[0], shown), (other[1], shown.flip(0)))
        )
    assert bool((own > others).all())


def test_as_text_and_in_a_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_picture("a.png", PHOTO)
    words = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2"]
    assert Style("layer2", "a.png").text() == "style:a.png@layer2"
    assert main(["--targets", "style:a.png@layer2", *words, "--out", "text"]) == 0
    target = {"class_path": "Style", "init_args": {"layer": "layer2", "photo": "a.png"}}
    Path("own.yaml").write_text(yaml.safe_dump({"targets": [target]}))
    assert main(["--config", "own.yaml", *words, "--out", "named"]) == 0
    assert pictures(Path("named")) == pictures(Path("text")) != {}
    done = next(Path("named").glob("jobs/*/done.jsonl"))
    done.unlink()
    assert main(["--resume", "--out", "named"]) == 0
    assert pictures(Path("named")) == pictures(Path("text"))
