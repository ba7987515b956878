"""What Alpha promises: an opacity beside the colours, a background that the network sees, a file that keeps it."""

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from lightning_fv import FeatureVisualizer, VisionNetwork, load_network, render, resolve_targets
from lightning_fv.commands.main import main
from lightning_fv.errors import UsageError
from lightning_fv.functional import composite
from lightning_fv.objectives import L2, Opacity
from lightning_fv.parameterizations import CPPN, Alpha, Fourier, LaplacianPyramid, Parameterization, Pixel
from lightning_fv.runs.picture import read_picture_tensor
from tests.helpers import TinyNet, generators, noise, smooth_photos

BASES: dict[str, Callable[[], Parameterization]] = {
    "pixel": lambda: Pixel(decorrelate=True),
    "fourier": Fourier,
    "laplacian": LaplacianPyramid,
    "cppn": CPPN,
}


@pytest.fixture(params=BASES)
def base(request: pytest.FixtureRequest) -> Parameterization:
    return BASES[request.param]()


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


def test_pictures_have_an_opacity_that_starts_high(base: Parameterization) -> None:
    made = Alpha(base)
    made.initialize((37, 29), generators([0, 1]))
    images = made()
    assert images.shape == (2, 4, 37, 29)
    assert 0.8 < images[:, 3].min() < images[:, 3].max() < 0.95
    assert (images[:, :3] - 0.5).abs().max() < 0.1
    torch.testing.assert_close(made.over_grey(images), composite(images, 0.5))
    assert [name for name, _ in made.named_parameters()] == ["values"]


def test_colours_are_those_of_the_base() -> None:
    """Of a base of the same numbers for the colours: the axes of colour are mixed among the three, not with the opacity."""
    plain, made = Pixel(decorrelate=True), Alpha(Pixel(decorrelate=True))
    plain.initialize((9, 7), generators([0]))
    made.initialize((9, 7), generators([0]))
    with torch.no_grad():
        made.values[:, :3] = plain.values
        made.values[:, 3] = torch.arange(63).view(9, 7) / 10 - 3
    torch.testing.assert_close(made()[:, :3], plain())
    torch.testing.assert_close(made()[0, 3], (torch.arange(63).view(9, 7) / 10 - 1).sigmoid())


def test_given_pictures_are_almost_opaque() -> None:
    made = Alpha(Fourier())
    made.from_image(smooth_photos(37, 29))
    torch.testing.assert_close(made()[:, :3], smooth_photos(37, 29), atol=1e-5, rtol=0)
    assert 0.97 < made()[:, 3].min() < 0.99


def test_growth_and_blur_are_those_of_the_base() -> None:
    plain, made = Fourier(sd=0.5), Alpha(Fourier(sd=0.5))
    plain.channels = 4
    for one in (plain, made):
        one.initialize((9, 7), generators([0, 1]))
        one.blur(0.7)
        one.resize((13, 11))
    assert torch.equal(made.values, plain.values)
    assert made.resample(noise(2, 4, 13, 6, 2), (13, 11), (15, 12), 3.0).shape == (2, 4, 15, 7, 2)
    free = Alpha(CPPN())
    free.initialize((9, 7), generators([0]))
    before = free.values
    free.resize((20, 20))
    assert free.values is before
    assert free().shape == (1, 4, 20, 20)
    assert not free.can_blur
    assert Alpha().can_blur


def test_every_objective_rises(network: VisionNetwork, base: Parameterization) -> None:
    recipe = FeatureVisualizer(Alpha(base), penalties=[L2(0.1)])
    targets = "logits:1+probability:2+conv1:1"
    begin, end = (render(network, targets, visualizer=recipe, steps=n, progress=False) for n in (1, 30))
    assert bool((end.scores > begin.scores).all())
    assert end.images.shape == (3, 3, 37, 29)


def test_a_picture_does_not_depend_on_its_batch_mates(network: VisionNetwork) -> None:
    options = {"parameterization": Alpha(), "penalties": [Opacity()], "steps": 10, "progress": False}
    alone, among = (render(network, targets, **options) for targets in ("logits:2", "logits:0-4"))  # type: ignore[arg-type]
    torch.testing.assert_close(among.images[2:3], alone.images, rtol=0, atol=1e-3)


def test_the_network_sees_another_background_in_each_step(network: VisionNetwork) -> None:
    bound = FeatureVisualizer(Alpha(), transforms=[]).bind(network, resolve_targets("logits:0-1", network))
    with torch.no_grad():
        images = bound.parameterization()
        images[:, 3] = 0
        first, second, again = (bound.transform(images, draw) for draw in (0, 1, 0))
    assert first.shape == (2, 3, 37, 29)
    assert torch.equal(first, again)
    assert min((first - second).abs().mean(), (first[0] - first[1]).abs().mean()) > 0.1
    assert bool(bound.parameterization.over_grey(images).eq(0.5).all())
    assert torch.equal(
        bound.transform(images[:, :3], 0), images[:, :3]
    )  # pictures without an opacity have no background


def test_the_penalty_makes_pictures_transparent() -> None:
    def opacity(weight: float) -> float:
        network = load_network("demo")
        recipe = FeatureVisualizer(Alpha(), penalties=[Opacity(weight)], size=32)
        seen: list[float] = []

        class Look(pl.Callback):
            def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                seen.append(float(pl_module.parameterization()[:, 3].detach().mean()))  # type: ignore[operator, union-attr]

        render(network, "logits:pizza", visualizer=recipe, steps=48, callbacks=[Look()], progress=False)
        return seen[0]

    assert opacity(4.0) < 0.8 < 0.85 < opacity(0.0)


def test_files_are_transparent_and_read_over_grey(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--model.parameterization", "Alpha", "--model.parameterization.base", "Pixel", "--model.size", "24"]
    words += ["--model.penalties", "[Opacity]", "--targets", "logits:1", "--trainer.max_steps", "24"]
    words += ["--trainer.enable_progress_bar", "false"]
    assert main(["--out", str(run), *words]) == 0
    (file,) = (run / "images").iterdir()
    with Image.open(file) as image:
        assert image.mode == "RGBA"
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    assert pixels[3].min() < 0.9
    torch.testing.assert_close(read_picture_tensor(file), composite(pixels[None], 0.5)[0], rtol=0, atol=0.006)
    again = render("demo", "logits:1", visualizer=FeatureVisualizer(Alpha(Pixel()), penalties=[Opacity()], size=24), steps=24,
                   progress=False)  # fmt: skip
    torch.testing.assert_close(read_picture_tensor(file), again.images[0], rtol=0, atol=0.006)


def test_alpha_of_alpha_is_refused() -> None:
    with pytest.raises(UsageError, match="Alpha takes opaque pictures, and those of Alpha have an opacity already"):
        Alpha(Alpha())
