"""Growth: the optimizer follows the pictures to their new size."""

import lightning.pytorch as pl
import pytest
import torch

from lightning_fv import FeatureVisualizer, VisionNetwork, render
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.optimization.nonfinite import NonFiniteGuard
from lightning_fv.optimization.resize import Moments, resize_pictures
from lightning_fv.parameterizations import CPPN, Fourier, LaplacianPyramid, Parameterization, Pixel
from tests.helpers import TinyNet, generators


@pytest.fixture
def network() -> VisionNetwork:
    return VisionNetwork(TinyNet(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), input_size=(37, 29))


@pytest.mark.parametrize("moments", ["reset", "resample"])
@pytest.mark.parametrize("parameterization", [Fourier(), Pixel(), LaplacianPyramid()])
def test_growing_keeps_going(network: VisionNetwork, moments: str, parameterization: Parameterization) -> None:
    visualizer = FeatureVisualizer(parameterization, size=16, moments=moments)  # type: ignore[arg-type]
    grow = ProgressiveUpscale(to=41, factor=1.3, every=5, blur=0.02)
    rendering = render(network, "logits:0-1", visualizer=visualizer, callbacks=[grow], steps=40, progress=False)
    assert rendering.images.shape == (2, 3, 41, 41)
    begin = render(network, "logits:0-1", visualizer=visualizer, steps=1, progress=False)
    assert bool((rendering.scores > begin.scores).all())


def test_growing_moves_the_optimizer_to_the_new_parameter(network: VisionNetwork) -> None:
    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
            (parameter,) = pl_module.parameters()
            (group,) = trainer.optimizers[0].param_groups
            assert group["params"] == [parameter]
            assert set(trainer.optimizers[0].state) == {parameter}
            assert trainer.optimizers[0].state[parameter]["exp_avg"].shape == parameter.shape

    render(
        network, "logits:0", size=16, callbacks=[ProgressiveUpscale(to=30, every=2), Watch()], steps=12, progress=False
    )


@pytest.mark.parametrize("moments", ["reset", "resample"])
@pytest.mark.parametrize("parameterization", [Fourier(), Pixel(), LaplacianPyramid(3)])
def test_moments_are_reset_or_resampled(moments: Moments, parameterization: Parameterization) -> None:
    parameterization.initialize((12, 10), generators([0, 1]))
    guard, old = NonFiniteGuard(), parameterization.values
    guard.reset(old)
    optimizer = torch.optim.Adam([old], lr=0.1)
    parameterization().square().sum().backward()
    optimizer.step()
    mean = float(optimizer.state[old]["exp_avg_sq"].mean())
    resize_pictures(parameterization, (18, 15), guard, [optimizer], moments)
    new = parameterization.values
    assert optimizer.param_groups[0]["params"] == [new]
    assert parameterization.size == (18, 15)
    assert guard.last_finite.shape == new.shape
    if moments == "reset":
        assert not optimizer.state
        return
    (state,) = optimizer.state.values()
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == new.shape
    assert float(state["step"]) == 1
    assert bool((state["exp_avg_sq"] >= 0).all())
    assert float(state["exp_avg_sq"].mean()) == pytest.approx(mean, rel=0.5)


@pytest.mark.parametrize("moments", ["reset", "resample"])
def test_values_that_know_no_pixels_stay_with_their_moments(moments: Moments) -> None:
    made, guard = CPPN(2, 3), NonFiniteGuard()
    made.initialize((12, 10), generators([0, 1]))
    guard.reset(made.values)
    optimizer = torch.optim.Adam([made.values], lr=0.1)
    made().square().sum().backward()
    optimizer.step()
    values, kept = made.values, guard.last_finite.clone()
    state = {name: value.clone() for name, value in optimizer.state[values].items()}
    resize_pictures(made, (18, 15), guard, [optimizer], moments)
    assert made().shape == (2, 3, 18, 15)
    assert optimizer.param_groups[0]["params"] == [made.values]
    assert made.values is values
    assert all(torch.equal(optimizer.state[values][name], value) for name, value in state.items())
    assert torch.equal(guard.last_finite, kept)


def test_last_finite_values_are_those_of_the_resized_picture() -> None:
    pixels, guard = Pixel(), NonFiniteGuard()
    pixels.initialize((9, 8), generators([0, 1]))
    guard.reset(pixels.values)
    resize_pictures(pixels, (13, 11), guard, [], "reset")
    assert torch.equal(guard.last_finite, pixels.values)
