"""Blur: a pure function of the step."""

import math

import lightning.pytorch as pl
import pytest

from lightning_fv import load_network, render
from lightning_fv.callbacks import PeriodicBlur
from lightning_fv.errors import UsageError
from lightning_fv.metrics import HighFrequencyEnergy


@pytest.mark.parametrize("arguments", [{"every": 0}, {"sigma": 0.0}])
def test_bad_blur_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="PeriodicBlur needs"):
        PeriodicBlur(**arguments)  # type: ignore[arg-type]


def test_blur_takes_high_frequencies_and_does_not_end_a_render() -> None:
    network = load_network("demo")

    def roughness(callbacks: list[pl.Callback], steps: int) -> float:
        images = render(network, "logits:0-1", steps=steps, callbacks=callbacks, progress=False).images
        return float(HighFrequencyEnergy()(images))

    assert roughness([PeriodicBlur(every=3, sigma=1.0)], 31) < 0.8 * roughness([], 31)
    # Step 12 would be the first blur, and comes after the last step: the same picture.
    assert math.isclose(roughness([PeriodicBlur(every=12)], 12), roughness([], 12))
