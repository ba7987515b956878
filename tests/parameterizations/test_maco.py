"""Phases with the magnitudes of photos."""

import copy
import signal
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightning_fv import FeatureVisualizer, load_network, render, resolve_targets
from lightning_fv.commands.main import main
from lightning_fv.errors import UsageError
from lightning_fv.functional import decorrelate, photo_spectrum
from lightning_fv.optimization.dead_units import DEAD_STEPS
from lightning_fv.parameterizations import MACO, Alpha, Parameterization, Shared
from lightning_fv.parameterizations.maco import magnitudes
from tests.faults.signals import SENDING, VARIABLE
from tests.helpers import generators, smooth_photos
from tests.processes import QUICK, pictures, run


def made(size: tuple[int, int] = (64, 64), opacity: bool = False, channels: int = 3) -> MACO:
    maco = MACO(opacity)
    maco.channels = channels
    maco.initialize(size, generators([0, 1]))
    return maco


def off(maco: MACO) -> float:
    """The largest relative difference of a wave's magnitude from that of photos; the mean colour has no phase."""
    images = maco().detach().double()
    logits = images.logit()
    if maco.channels == 3:
        logits = decorrelate(logits)
    found = torch.fft.rfft2(logits, norm="forward").abs()
    expected = magnitudes(maco.size, maco.channels).double().expand_as(found)
    assert (found[..., 0, 0] <= expected[..., 0, 0] * (1 + 1e-4)).all()
    found[..., 0, 0] = expected[..., 0, 0]
    waves = expected > 0
    assert found[~waves].max() < 1e-5 if (~waves).any() else True
    return float(((found - expected).abs() / expected)[waves].max())


def decoded_off(maco: MACO) -> float:
    """The same before colours are mixed and squashed, where float32 rounds less."""
    found = torch.fft.rfft2(maco.decode(maco.values.detach(), maco.size).double(), norm="forward").abs()
    expected = magnitudes(maco.size, maco.channels).double().expand_as(found)
    waves = expected > 0
    waves[..., 0, 0] = False
    return float(((found - expected).abs() / expected)[waves].max())


@pytest.mark.parametrize("size", [(64, 64), (37, 29), (48, 65), (224, 224)])
@pytest.mark.parametrize("channels", [1, 3])
def test_magnitudes_are_those_of_photos(size: tuple[int, int], channels: int) -> None:
    assert decoded_off(made(size, channels=channels)) < 1e-5
    assert off(made(size, channels=channels)) < 2e-3


def test_magnitudes_stay_in_every_step_and_growth() -> None:
    maco = made((40, 40))
    wanted = smooth_photos(40, 40)
    losses = []
    for size in ((40, 40), (53, 61), (96, 80)):
        if size != maco.size:
            maco.resize(size)
        optimizer = torch.optim.NAdam(maco.parameters(), lr=0.3)
        for _ in range(5):
            optimizer.zero_grad()
            images = torch.nn.functional.interpolate(maco(), (40, 40), mode="area")
            loss = (images - wanted).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
            assert decoded_off(maco) < 1e-5
    assert losses[4] < 0.9 * losses[0]


def test_growth_keeps_the_picture() -> None:
    """Waves that the small picture has are where they were; only new ones are added."""
    maco = made((40, 40))
    before = maco.decode(maco.values.detach(), (40, 40))
    maco.resize((80, 80))
    after = maco.decode(maco.values.detach(), (80, 80))
    small = torch.nn.functional.avg_pool2d(after, 2)
    likeness = torch.nn.functional.cosine_similarity(small.flatten(1), before.flatten(1))
    assert likeness.min() > 0.97


def test_every_phase_is_learned_that_a_real_picture_has() -> None:
    maco = made((37, 29))
    (maco() * torch.rand(2, 3, 37, 29)).sum().backward()
    assert maco.values.grad is not None
    reached = maco.values.grad != 0
    assert bool(reached[..., 1:].all())
    assert bool(reached[..., :19, 0].all())  # of the first column, one of each conjugate pair


def test_phases_of_a_photo_are_kept() -> None:
    maco = made((37, 29))
    photo = smooth_photos(37, 29)
    maco.from_image(photo)
    one, other = (decorrelate(images.detach().logit()) for images in (maco(), photo))
    given = torch.fft.rfft2(other, norm="forward")
    phases = torch.fft.rfft2(one).angle() - given.angle()
    strong = given.abs() > 1e-3  # of the others float32 hardly knows the phase
    strong[..., 0, 0] = False
    assert int(strong.sum()) > 50
    assert phases.cos()[strong].min() > 0.999
    assert decoded_off(maco) < 1e-5


def test_the_mean_colour_of_a_photo_is_kept_and_learned() -> None:
    maco, photo = made((37, 29)), smooth_photos(37, 29)
    photo[1] = photo[1] * 0.02 + 0.97  # brighter than the magnitudes allow
    maco.from_image(photo)
    images = maco()
    one, other = (decorrelate(pictures.detach().logit()).mean((2, 3)) for pictures in (images, photo))
    torch.testing.assert_close(one[0], other[0], atol=1e-4, rtol=0)
    reach = magnitudes((37, 29))[:, 0, 0]
    torch.testing.assert_close(one[1, 0], 0.999 * reach[0], atol=1e-3, rtol=0)
    (gradient,) = torch.autograd.grad(images.mean(), maco.values)
    assert bool((gradient[:, 0, 0, 0].abs() > 1e-6).all())


def test_the_spectrum_is_that_of_photos() -> None:
    """The share of low frequencies as in ``photo_spectrum``, which was measured in another way."""
    from lightning_fv.metrics import windowed_power

    maco = MACO()
    maco.initialize((224, 224), generators(range(4)))
    power = windowed_power(maco().detach()).sum(1)
    f = torch.fft.fftfreq(224, 1 / 224)[:, None].square() + torch.fft.rfftfreq(224, 1 / 224)[None].square()
    shares = [float(power[:, f.sqrt() <= k].sum() / power.sum()) for k in (4, 16, 56)]
    expected = np.cumsum(photo_spectrum("imagenet"))[[3, 15, 55]]
    np.testing.assert_allclose(shares, expected, atol=0.1)


def test_opacity_is_where_the_gradient_was() -> None:
    maco = made((40, 40), opacity=True)
    mask = torch.zeros(40, 40)
    mask[10:20, 10:20] = 1
    for _ in range(3):
        (maco() * mask).sum().backward()
    shown = maco.shown(maco())
    assert shown.shape == (2, 4, 40, 40)
    assert bool((shown[:, 3, 12:18, 12:18] == 1).all())
    assert bool((shown[:, 3, 25:, 25:] == 0).all())
    torch.testing.assert_close(maco.importance[0], 3 * mask / 1.0)
    (maco()[1] * torch.nan).sum().backward()
    assert maco.importance.isfinite().all()
    maco.resize((60, 60))
    assert maco.shown(maco())[:, 3].shape == (2, 60, 60)
    twin = copy.deepcopy(maco)
    twin.load_state_dict(maco.state_dict())
    assert torch.equal(twin.importance, maco.importance)


def test_without_opacity_pictures_are_shown_as_they_are() -> None:
    maco = made((9, 7))
    images = maco()
    assert maco.shown(images) is images


def test_cannot_be_blurred() -> None:
    with pytest.raises(UsageError, match="leave out blurs"):
        made().blur(1.0)


RUN = [
    *QUICK, "--targets", "logits:pizza+layer3:5", "--checkpoint_seconds", "0.01", "--trainer.max_steps", "40",
    "--model.parameterization", "MACO", "--model.parameterization.opacity", "true", "--model.size", "24", SENDING,
    "--trainer.accumulate_grad_batches", "2", "--trainer.callbacks+=ProgressiveUpscale", "--trainer.callbacks.to=32",
    "--trainer.callbacks.every=15", "--trainer.callbacks.blur=0",
]  # fmt: skip


def test_opacity_is_the_same_after_a_kill(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["--out", str(whole), *RUN]) == 0
    code, _ = run("--out", str(killed), *RUN, **{VARIABLE: "SIGKILL@23"})
    assert code == -signal.SIGKILL
    assert list(killed.glob("jobs/*/checkpoints/step=*.ckpt"))
    assert main(["--out", str(killed), "--resume", *QUICK]) == 0
    assert pictures(killed) == pictures(whole)


def test_a_picture_and_its_opacity_are_the_same_alone_and_among_others() -> None:
    shown = []
    for targets in ("logits:pizza", "logits:lion+logits:pizza"):
        network = load_network("demo")
        visualizer = FeatureVisualizer(MACO(opacity=True), size=32)
        bound = visualizer.bind(network, resolve_targets(targets, network))
        for step in range(3):
            bound.loss(step, step).backward()  # type: ignore[no-untyped-call]
        shown.append(bound.parameterization.shown(bound.parameterization())[-1])
    torch.testing.assert_close(shown[0], shown[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("make", [lambda: Alpha(MACO()), lambda: Shared(2, MACO())])
def test_it_is_no_base_of_others(make: Callable[[], Parameterization]) -> None:
    with pytest.raises(UsageError, match="MACO"):
        make()


def test_a_render(tmp_path: Path) -> None:
    """It rises, and again it gives the same file."""
    options = {"parameterization": MACO(opacity=True), "size": 40, "progress": False, "seed": 1}
    first = render("demo", "logits:pizza", steps=24, out=tmp_path / "one", **options)
    assert first.scores[0] > 3
    again = render("demo", "logits:pizza", steps=24, out=tmp_path / "two", **options)
    assert again.scores == first.scores
    pixels = []
    for name in ("one", "two"):
        with Image.open(next((tmp_path / name / "images").iterdir())) as picture:
            assert picture.mode == "RGBA"
            pixels.append(np.asarray(picture))
    np.testing.assert_array_equal(pixels[0], pixels[1])
    alpha = pixels[0][..., 3]
    assert 0.1 < (alpha == 0).mean() < 0.3
    assert 0.1 < (alpha == 255).mean() < 0.3


def test_magnitudes_beyond_the_table_fall_on() -> None:
    found: Tensor = magnitudes((512, 512))
    assert found.shape == (3, 512, 257)
    assert bool((found[:, 10, 250] < found[:, 10, 111]).all())
    assert bool((found[:, 255, 256 - 2] > 0).all())
    assert bool((found[:, 256] == 0).all())


def test_a_restarted_picture_begins_without_importance() -> None:
    maco = made((16, 16), opacity=True)
    maco.importance.fill_(1.0)
    kept = maco.values.detach()[0].clone()
    maco.restart([1], generators([7]))
    assert maco.importance[0].all()
    assert not maco.importance[1].any()
    assert torch.equal(maco.values[0], kept)
    assert torch.equal(maco.values[1], maco.noise((16, 16), *generators([7])))


def test_the_opacity_of_a_dead_units_picture_is_that_of_its_last_noise() -> None:
    network = load_network("demo")
    (target,) = resolve_targets("logits:1", network)
    bound = FeatureVisualizer(MACO(opacity=True), size=16).bind(network, [target])
    maco = bound.parameterization
    assert isinstance(maco, MACO)
    bound.dead_units.last_active_step -= DEAD_STEPS
    maco.importance.fill_(1.0)
    bound._trainer = pl.Trainer(logger=False, enable_checkpointing=False)
    bound._restart_dead_pictures(DEAD_STEPS)
    assert bound.dead_units.restarts.tolist() == [1]
    assert not maco.importance.any()
