"""Pictures as files."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_fv.callbacks.background import Background
from lightning_fv.files import Unwritten, write_atomic
from lightning_fv.functional import resize_images, to_uint8
from lightning_fv.optimization.score import assess
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.job import DONE
from lightning_fv.runs.picture import encode_jpeg, write_picture
from lightning_fv.runs.record import Record, write_manifest


class ArtifactWriter(pl.Callback):
    """Write finished pictures to ``images/``, interrupted ones to ``partial/``, and a frame per stage for the film.

    Each PNG carries its record, the recipe and the versions in a text chunk. The job's records go to ``done.jsonl`` in
    its folder, by default the trainer's log folder, when, and only when, all its pictures are written: the file marks the job as done.
    What the disk does not take is noted in ``unwritten``; the pictures are then saved in a last checkpoint, if that can be.

    Args:
        folder: the run folder; by default the trainer's ``default_root_dir``.
        frame_side: longer side of a picture in the film at most, in pixels.
        frame_pictures: pictures in the film at most.
    """

    def __init__(self, folder: str | None = None, frame_side: int = 128, frame_pictures: int = 16) -> None:
        self.folder, self.frame_side, self.frame_pictures = folder, frame_side, frame_pictures
        self.unwritten = Unwritten()
        self.records: list[Record] = []
        self._background: Background | None = None
        self._start, self._seconds = time.monotonic(), 0.0

    def settings(self) -> None:
        """None: changes no picture, so that no job's id depends on it."""

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds + time.monotonic() - self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds = state_dict["seconds"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.monotonic()
        assert isinstance(pl_module, FeatureVisualizer)
        self._background = Background("frames of the film", self.unwritten)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._frame(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._frame(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        complete = trainer.global_step >= trainer.max_steps
        seconds = self._seconds + time.monotonic() - self._start
        self.records = assess(pl_module, trainer.global_step, seconds, complete)
        try:
            self._write(trainer, pl_module, complete)
        except OSError as error:
            self.unwritten.add("pictures", error)
            checkpoints = getattr(trainer.checkpoint_callback, "dirpath", None)
            if checkpoints and complete:
                # Not trainer.save_checkpoint: under ddp that waits for all ranks, and this one is here alone.
                saved = trainer._checkpoint_connector.dump_checkpoint(False)
                trainer.strategy.save_checkpoint(saved, Path(checkpoints) / f"step={trainer.global_step}.ckpt")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _write(self, trainer: pl.Trainer, visualizer: FeatureVisualizer, complete: bool) -> None:
        folder = self._run(trainer) / ("images" if complete else "partial")
        folder.mkdir(exist_ok=True)
        failed: OSError | None = None
        recipe = visualizer.describe()
        for record, picture in zip(self.records, visualizer.pictures(), strict=True):
            if bool(torch.isfinite(picture).all()):
                record.image = f"{folder.name}/{record.id}.png"
                try:
                    write_picture(folder / f"{record.id}.png", picture, record, recipe)
                except OSError as error:  # the next may be smaller
                    record.image, failed = None, error
                    continue
                if complete:
                    (folder.parent / "partial" / f"{record.id}.png").unlink(missing_ok=True)
        if failed is not None:
            raise failed
        if complete:
            write_manifest(self._job(trainer, visualizer) / DONE, self.records)

    def _frame(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        shown = pl_module.pictures()[: self.frame_pictures]
        if self._background is None or not bool(torch.isfinite(shown).all()):
            return
        from torchvision.utils import make_grid  # here: torchvision takes a second to import

        height, width = shown.shape[-2:]
        scale = min(1.0, self.frame_side / max(height, width))
        shown = resize_images(shown, (max(1, round(height * scale)), max(1, round(width * scale))))
        columns = max(1, round(len(shown) ** 0.5 + 0.49))
        pixels = to_uint8(make_grid(shown, nrow=columns, pad_value=1.0))
        path = self._job(trainer, pl_module) / "frames" / f"{trainer.global_step:08d}.jpg"

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, lambda file: file.write(encode_jpeg(pixels)), durable=False)

        self._background.submit(write)

    def _run(self, trainer: pl.Trainer) -> Path:
        return Path(self.folder or trainer.default_root_dir)

    def _job(self, trainer: pl.Trainer, visualizer: FeatureVisualizer) -> Path:
        return Path(visualizer.job_folder or trainer.log_dir or self._run(trainer))

    def _close(self) -> None:
        if self._background is not None:
            self._background.close()
            self._background = None
