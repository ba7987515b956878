"""Blur: a pure function of the step."""

import math

import lightning.pytorch as pl
import pytest

from lightning_fv import load_network, render
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.errors import UsageError
from lightning_fv.metrics import HighFrequencyEnergy
from lightning_fv.parameterizations import Fourier


@pytest.mark.parametrize("arguments", [{"every": 0}, {"sigma": 0.0}])
def test_bad_blur_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="PeriodicBlur needs"):
        PeriodicBlur(**arguments)  # type: ignore[arg-type]


def test_blur_takes_high_frequencies_and_does_not_end_a_render() -> None:
    network = load_network("demo")

    def roughness(callbacks: list[pl.Callback], steps: int) -> float:
        images = render(network, "logits:0-1", steps=steps, callbacks=callbacks, progress=False).images
        return float(HighFrequencyEnergy()(images))

    assert roughness([PeriodicBlur(every=3, sigma=1 / 24)], 31) < 0.8 * roughness([], 31)
    # Step 12 would be the first blur, and comes after the last step: the same picture.
    assert math.isclose(roughness([PeriodicBlur(every=12)], 12), roughness([], 12))


@pytest.mark.parametrize(
    "callback", [PeriodicBlur(every=2, sigma=1 / 16), ProgressiveUpscale(to=1.5, every=2, factor=1.2, blur=1 / 16)]
)
@pytest.mark.parametrize("side", [32, 64])
def test_a_blur_is_relative_to_the_training_size(
    callback: pl.Callback, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    monkeypatch.setattr(Fourier, "blur", lambda self, sigma: seen.append(sigma))
    network = load_network("demo")
    network.input_size = (side, side)
    render(network, "logits:0", steps=3, callbacks=[callback], progress=False)
    assert seen == [side / 16]
