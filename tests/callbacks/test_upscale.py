"""Growth: a pure function of the step."""

import lightning.pytorch as pl
import pytest

from lightning_fv import load_network, render
from lightning_fv.callbacks import ProgressiveUpscale
from lightning_fv.errors import UsageError


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
