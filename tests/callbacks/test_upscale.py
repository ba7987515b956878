"""Growth: a pure function of the step."""

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from lightning_fv import FeatureVisualizer, load_network, render, resolve_targets
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.engines.plan import STEPS, Setup, make_plan
from lightning_fv.errors import UsageError
from lightning_fv.functional import resize_images
from lightning_fv.optimization.start import add_details
from lightning_fv.parameterizations import Fourier, Parameterization, Pixel
from lightning_fv.runs.folder import RunFolder
from tests.engines.runs import QUICK, Signal, work
from tests.helpers import low_pass, noise, save_picture, smooth_photos
from tests.processes import SCRIPTS, pictures


def test_the_study_grows_from_64_to_400_in_twenty_steps() -> None:
    grow = ProgressiveUpscale(to=400, factor=1.1, every=50)
    sizes = [grow.size_at(step, (64, 64), 400)[0] for step in range(0, 1100, 50)]
    assert sizes == [min(400, round(64 * 1.1**k)) for k in range(22)]
    assert grow.size_at(49, (64, 64), 400) == (64, 64)
    assert grow.size_at(999, (64, 64), 400)[0] < 400 == grow.size_at(1000, (64, 64), 400)[0]


def test_growth_keeps_the_aspect() -> None:
    height, width = ProgressiveUpscale(to=90, factor=1.2, every=1).size_at(100, (37, 29), 90)
    assert (height, width) == (90, round(29 * 90 / 37))


def test_sizes_of_a_render_are_those_of_the_schedule() -> None:
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
            seen.append(pl_module.size[0])  # type: ignore[index]

    render(load_network("demo"), "logits:0", size=20, steps=10, progress=False,
           callbacks=[ProgressiveUpscale(to=0.5, factor=1.2, every=3), Watch()])  # fmt: skip
    assert seen == [20] * 3 + [24] * 3 + [29] * 3 + [32]


@pytest.mark.parametrize("arguments", [{"to": 0}, {"factor": 1.0}, {"every": 0}, {"blur": -1.0}])
def test_bad_growth_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="ProgressiveUpscale needs"):
        ProgressiveUpscale(**arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="start at 64 px"):
        render("demo", "logits:0", steps=2, callbacks=[ProgressiveUpscale(to=32)], progress=False)


def test_pictures_that_cannot_grow_are_told_of_before_the_first_step() -> None:
    for options, told in (
        ({"callbacks": [ProgressiveUpscale(to=64)]}, "does nothing: the pictures are 64 px"),
        ({"callbacks": [ProgressiveUpscale(to=1.0, every=1)], "size": 0.5}, "reaches 35 px in 2 steps, not 64 px"),
    ):
        with pytest.warns(UserWarning, match=told):
            render("demo", "logits:0", steps=2, progress=False, **options)  # type: ignore[arg-type]


def test_the_pictures_of_the_readme_grow_to_the_whole() -> None:
    shown = re.search(
        r"size=([\d.]+),.*\n.*ProgressiveUpscale\(to=([\d.]+), every=(\d+)\)",
        (SCRIPTS.parent / "README.md").read_text(),
    )
    assert shown is not None
    start = FeatureVisualizer(size=float(shown[1])).size_for(load_network("demo"))
    grow = ProgressiveUpscale(to=float(shown[2]), every=int(shown[3]))
    assert start < (64, 64) == grow.last_size(STEPS, start, (64, 64))


def still(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-30)


@pytest.mark.parametrize("parameterization", [Pixel(), Fourier()])
def test_a_photo_gets_its_details_back(parameterization: Parameterization) -> None:
    """After growth a photo that nothing has changed is what it is at that size."""
    photo = smooth_photos(64, 48)
    photo = (photo + 0.1 * torch.sign(noise(2, 3, 64, 48))).clamp(
        0.05, 0.95
    )  # which a quarter of the pixels cannot show
    grow = ProgressiveUpscale(to=64, factor=2.0, every=2, blur=0.0)
    options: dict[str, Any] = {"size": (16, 12), "transforms": [], "optimizer": still, "progress": False, "steps": 6}
    grown = render("demo", "logits:0-1", start=photo, callbacks=[grow], parameterization=parameterization, **options)
    assert grown.images.shape == (2, 3, 64, 48)
    coarse = resize_images(resize_images(photo, (16, 12)), (64, 48))
    # Fourier leaves out the highest frequencies, and its interpolation is not bilinear.
    assert float((grown.images - photo).abs().mean()) < 0.35 * float((coarse - photo).abs().mean())
    small = render("demo", "logits:0-1", start=resize_images(photo, (16, 12)), callbacks=[grow], **options)
    assert float((small.images - photo).abs().mean()) > 0.8 * float((coarse - photo).abs().mean())


def test_what_was_made_of_a_photo_stays_when_it_gets_its_details_back() -> None:
    photo = (smooth_photos(64, 64) + 0.1 * torch.sign(noise(2, 3, 64, 64))).clamp(0.05, 0.95)
    grow = ProgressiveUpscale(to=64, factor=2.0, every=12, blur=0.0)
    options: dict[str, Any] = {"size": 32, "progress": False, "parameterization": Pixel(), "seed": 3}
    before = render("demo", "logits:0-1", start=photo, steps=12, **options).images - resize_images(photo, (32, 32))
    after = render("demo", "logits:0-1", start=photo, steps=13, callbacks=[grow], **options).images - photo
    made = np.corrcoef(low_pass(before).ravel(), low_pass(after).ravel())[0, 1]
    assert made > 0.9


def test_pictures_that_no_longer_come_from_the_photo_get_no_details() -> None:
    network = load_network("demo")
    start = (smooth_photos(64, 64) + 0.1 * torch.sign(noise(2, 3, 64, 64))).clamp(0.05, 0.95)
    bound = FeatureVisualizer(Pixel(), size=32).bind(network, resolve_targets("logits:0-1", network), start=start)
    with torch.no_grad():
        bound.parameterization.values[1] = torch.nan
    bound.resize((64, 64))
    plain = bound.pictures()
    add_details(bound.parameterization, bound.guard, start, (32, 32), torch.tensor([False, True]))
    assert torch.equal(bound.pictures()[0], plain[0])
    assert bool(bound.pictures()[1].isnan().all())
    assert not bool(bound.guard.last_finite.isnan().any())
    add_details(bound.parameterization, bound.guard, start, (32, 32), torch.tensor([True, True]))
    torch.testing.assert_close(bound.pictures()[0], start[0], rtol=0, atol=0.02)
    assert torch.equal(bound.guard.last_finite[0], bound.parameterization.values[0])


@pytest.mark.parametrize("batch", [3, 4, 8])
def test_growth_from_a_photo_ends_in_the_same_bits_after_an_interruption(tmp_path: Path, batch: int) -> None:
    recipe = FeatureVisualizer(size=20)
    photo = (smooth_photos(64, 64) + 0.1 * torch.sign(noise(2, 3, 64, 64))).clamp(0.05, 0.95)
    found = {}
    for name in ("whole", "stopped"):
        signals = [Signal(batch)] if name == "stopped" else []
        for callbacks in (signals, []):
            grow = ProgressiveUpscale(to=64, factor=1.4, every=3)
            options = {**QUICK, "max_steps": 12, "callbacks": [grow, *callbacks]}
            setup = Setup(load_network("demo"), recipe, options, start=photo, checkpoint_seconds=1e-6)
            plan = make_plan(setup, "logits:0-1", 2)
            plan.folder = RunFolder(tmp_path / name)
            if not plan.folder.jobs.is_dir():
                plan.folder.create()
            plan.folder.register(plan.jobs)
            (result,) = work(plan)
            if callbacks:
                assert {record.status for record in result.records} == {"partial"}
        found[name] = pictures(tmp_path / name)
    assert len(found["whole"]) == 2
    assert found["stopped"] == found["whole"]


def test_a_photo_is_read_as_large_as_the_pictures_grow(tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", smooth_photos(90, 120)[0])
    words = ["--config", "deepdream", "--start", str(tmp_path / "photo.png"), "--trainer.accelerator", "cpu"]
    assert main([*words, "--trainer.max_steps", "22", "--model.size", "20", "--out", str(tmp_path / "run")]) == 0
    with Image.open(next((tmp_path / "run" / ".run").glob("start-*.png"))) as kept:
        assert kept.size == (39, 39)  # 20 * 1.4 ** 2
    assert main(["--resume", "--out", str(tmp_path / "run")]) == 0
