"""Pictures in TensorBoard."""

import functools
from collections.abc import Callable

import lightning.pytorch as pl

from lightning_fv.callbacks.background import Background
from lightning_fv.optimization.final_pictures import final_pictures
from lightning_fv.optimization.preview import preview
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.report.event_file import EventFile
from lightning_fv.report.events import image_event
from lightning_fv.runs.files import WriteErrors

_WHAT = "pictures in TensorBoard"


class ImageLogger(pl.Callback):
    """Log one grid of thumbnails per epoch (tag ``pictures``), and every picture at the end under ``layer/unit``.

    Encoding happens on a separate thread, into a separate event file next to the scalars'. Previews are dropped when the
    thread lags, final pictures never. A picture that is not finite is not logged: it would look black.

    TensorBoard shows 10 steps of a tag by default; ``--samples_per_plugin images=200`` shows all. A write error is
    recorded in ``errors`` and ends the log, not the render.

    Args:
        pictures: maximum number of pictures in the grid.
        side: maximum longer side of a thumbnail, in pixels.
    """

    def __init__(self, pictures: int = 24, side: int = 200) -> None:
        self.pictures, self.side = pictures, side
        self.errors = WriteErrors()
        self._background: Background | None = None
        self._writer: EventFile | None = None

    def settings(self) -> None:
        """None: this callback changes no picture, so job ids do not depend on it."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not trainer.log_dir: under ddp that is a collective, and the first rank may get here alone.
        folder = getattr(trainer.logger, "log_dir", None) or getattr(trainer.logger, "save_dir", None)
        if folder is None or not trainer.is_global_zero:
            return
        try:
            self._writer = EventFile(folder, ".images")
        except OSError as error:
            self.errors.add(_WHAT, error)
            return
        self._background = Background(_WHAT, self.errors)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        if self._background is not None:
            shown = preview(pl_module, self.pictures, self.side)
            if shown is not None:
                height, width = shown.pixels.shape[1:]
                self._log("pictures", height, width, trainer.global_step, shown.jpeg)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FeatureVisualizer)
        if self._background is not None:
            final = final_pictures(pl_module)
            for row, target in enumerate(pl_module.targets):
                if final.finite[row]:
                    encode = functools.partial(final.preview, row)
                    self._log(target.tag, *pl_module.size, trainer.global_step, encode, must=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _log(
        self, tag: str, height: int, width: int, step: int, encode: Callable[[], bytes], must: bool = False
    ) -> None:
        writer = self._writer
        assert self._background is not None
        assert writer is not None
        self._background.submit(lambda: writer.add(image_event(tag, height, width, step, encode())), must)

    def _close(self) -> None:
        if self._background is not None:
            background, writer = self._background, self._writer
            assert writer is not None
            background.close()
            writer.close()
            self._background = self._writer = None
