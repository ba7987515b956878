"""Files of a run made through a plain Trainer, as a user of Lightning would."""

from pathlib import Path

import lightning.pytorch as pl
import torch
from PIL import Image

from lightning_fv import FeatureVisualizer, load_network, resolve_targets
from lightning_fv.callbacks import ArtifactWriter
from lightning_fv.runs.record import read_manifest


def fit(folder: Path, steps: int, callbacks: list[pl.Callback]) -> FeatureVisualizer:
    network = load_network("demo")
    bound = FeatureVisualizer().bind(network, resolve_targets("logits:pizza+logits:iPod", network))
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, default_root_dir=folder, callbacks=callbacks, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(bound)
    return bound


def test_pictures_of_a_plain_trainer(tmp_path: Path) -> None:
    bound = fit(tmp_path, 32, [ArtifactWriter(frame_side=40)])
    records = read_manifest(tmp_path / "done.jsonl")
    assert [record.id for record in records] == ["logits-0011-pizza", "logits-0012-iPod"]
    for record, picture in zip(records, bound.pictures(), strict=True):
        with Image.open(tmp_path / str(record.image)) as image:
            pixels = torch.tensor(list(image.getdata())).view(64, 64, 3).permute(2, 0, 1)
        assert torch.equal(pixels, (picture * 255).round().long())
        assert record.scores["top1"] == record.target.split(":")[1]
    frames = sorted((tmp_path / "frames").iterdir())
    assert [frame.name for frame in frames] == [f"{step:08d}.jpg" for step in range(0, 33, 2)]
    with Image.open(frames[0]) as frame:
        assert frame.size == (2 * 40 + 6, 44)


def test_a_picture_that_is_not_finite_again_and_again_is_marked_and_its_last_finite_state_written(
    tmp_path: Path,
) -> None:
    class Poison(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
            with torch.no_grad():
                next(pl_module.parameters())[1] = torch.nan

    fit(tmp_path, 8, [ArtifactWriter(), Poison()])
    good, bad = read_manifest(tmp_path / "done.jsonl")
    assert (good.status, bad.status) == ("done", "diverged")
    assert bad.score is not None
    with Image.open(tmp_path / str(bad.image)) as image:
        assert image.getextrema() != ((0, 0),) * 3
