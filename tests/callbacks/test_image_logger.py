"""What TensorBoard will read."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_fv import load_network, render
from lightning_fv.callbacks import ImageLogger


def events(run: Path) -> EventAccumulator:
    (job,) = (run / "jobs").iterdir()
    accumulator = EventAccumulator(str(job), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def decoded(event: object) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(event.encoded_image_string)))  # type: ignore[attr-defined]


def test_one_grid_per_epoch_and_every_picture_at_the_end(tmp_path: Path) -> None:
    rendering = render(load_network("demo"), "logits:pizza+layer3:5", steps=64, out=tmp_path / "run", progress=False)
    read = events(tmp_path / "run")
    assert set(read.Tags()["images"]) == {"pictures", "logits/pizza", "layer3/5"}
    grids = read.Images("pictures")
    assert [event.step for event in grids] == list(range(4, 65, 4))
    first, last = decoded(grids[0]), decoded(grids[-1])
    assert first.shape == last.shape == (68, 134, 3)
    assert np.abs(first.astype(int) - last).mean() > 5
    (final,) = read.Images("logits/pizza")
    assert final.step == 64
    assert np.array_equal(decoded(final), (rendering.images[0].permute(1, 2, 0) * 255).round().byte().numpy())
    objective = read.Scalars("objective")
    assert objective[-1].value > objective[0].value
    assert [event.step for event in objective] == sorted(event.step for event in objective)


def test_an_entry_of_the_same_class_replaces_the_shipped_one(tmp_path: Path) -> None:
    render(load_network("demo"), "logits:0-3", steps=2, out=tmp_path / "run", progress=False,
           callbacks=[ImageLogger(pictures=1, side=32)])  # fmt: skip
    read = events(tmp_path / "run")
    assert decoded(read.Images("pictures")[0]).shape == (32, 32, 3)
