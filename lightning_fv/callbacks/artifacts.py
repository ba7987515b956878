"""Writes pictures to files."""

import time
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl

from lightning_fv.callbacks.background import Background
from lightning_fv.optimization.final_pictures import final_pictures
from lightning_fv.optimization.preview import preview
from lightning_fv.optimization.score import assess
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.photos.statistics import PhotoStatistics
from lightning_fv.runs.files import WriteErrors, write_atomic
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.job_folder import JobFolder
from lightning_fv.runs.picture import write_encoded
from lightning_fv.runs.record import Record
from lightning_fv.runs.start_photo import StartPhoto


class ArtifactWriter(pl.Callback):
    """Write finished pictures to ``images/``, those of a stopped fit to ``partial/``, and a frame per stage for the film.

    Each PNG carries its record, the recipe, the versions and ``origin`` in a text chunk. Once all pictures are written,
    and only then, their records go to a file in the job's folder that marks it as done. ``errors`` records what cannot be
    written.

    With a Trainer of your own the run folder is its ``default_root_dir``, and the job's its log folder.

    Args:
        frame_side: maximum longer side of a picture in the film, in pixels.
        frame_pictures: maximum number of pictures in the film.
    """

    def __init__(self, frame_side: int = 128, frame_pictures: int = 24) -> None:
        self.frame_side, self.frame_pictures = frame_side, frame_pictures
        self.errors = WriteErrors()
        self.origin: dict[str, Any] | None = None
        self.records: list[Record] = []
        self._run: RunFolder | None = None
        self._job: JobFolder | None = None
        self._photos: list[StartPhoto] = []
        self._statistics: PhotoStatistics | None = None
        self._background: Background | None = None
        self._start, self._seconds = time.monotonic(), 0.0

    def attach(
        self,
        run: RunFolder,
        job: JobFolder,
        photos: Sequence[StartPhoto] = (),
        statistics: PhotoStatistics | None = None,
    ) -> None:
        """Write into these folders instead of the Trainer's.

        Args:
            run: the run's folder.
            job: that of the job.
            photos: that the pictures started from, one each, or none.
            statistics: of what the units respond to photos; default: see `assess`.
        """
        self._run, self._job, self._photos, self._statistics = run, job, list(photos), statistics

    def settings(self) -> None:
        """None: this callback changes no picture, so job ids do not depend on it."""

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds + time.monotonic() - self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds = state_dict["seconds"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.monotonic()
        assert isinstance(pl_module, FeatureVisualizer)
        if self._run is None or self._job is None:
            self.attach(RunFolder(trainer.default_root_dir), JobFolder(trainer.log_dir or trainer.default_root_dir))
        assert self._job is not None
        try:  # now, not with each frame, which would make a folder that was moved away since anew
            self._job.frames.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.errors.add("frames of the film", error)
            return
        self._background = Background("frames of the film", self.errors)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._frame(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._frame(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        complete = trainer.global_step >= trainer.max_steps
        seconds = self._seconds + time.monotonic() - self._start
        self.records = assess(pl_module, trainer.global_step, seconds, complete, self._statistics)
        try:
            self._write(pl_module, complete)
        except OSError as error:
            self.errors.add("pictures", error)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _write(self, visualizer: FeatureVisualizer, complete: bool) -> None:
        assert self._run is not None
        assert self._job is not None
        failed: OSError | None = None
        recipes = [{**visualizer.describe(), "start": photo.provenance} for photo in self._photos]
        recipes = recipes or [visualizer.describe()] * len(self.records)
        self._run.refuse_linked_folders(self._job)
        final = final_pictures(visualizer)
        for row, (record, recipe) in enumerate(zip(self.records, recipes, strict=True)):
            if final.finite[row]:
                file = self._run.picture(record.id, complete)
                record.image = self._run.relative(file)
                try:
                    file.parent.mkdir(exist_ok=True)
                    record.sign(write_encoded(file, final.file(row), record, recipe, self.origin))
                except OSError as error:  # the next picture may be smaller
                    record.image, failed = None, error
                    continue
                if complete:
                    self._run.picture(record.id, complete=False).unlink(missing_ok=True)
            else:
                record.sign()
        if failed is not None:
            raise failed
        if complete:
            self._job.mark_done(self.records)
        else:
            self._job.mark_unfinished(self.records)

    def _frame(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        if self._background is None:
            return
        shown = preview(pl_module, self.frame_pictures, self.frame_side)
        if shown is None:
            return
        assert self._job is not None
        path = self._job.frame(trainer.global_step)

        def write() -> None:
            write_atomic(path, lambda file: file.write(shown.jpeg()), durable=False)

        self._background.submit(write)

    def _close(self) -> None:
        if self._background is not None:
            self._background.close()
            self._background = None
