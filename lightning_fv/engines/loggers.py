"""TensorBoard on a disk that may be full: the logs stop, the render does not."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from lightning_fv.files import Unwritten


class SparingLogger(TensorBoardLogger):
    """Lightning's logger of scalars and settings; what the disk does not take ends the log with a warning.

    Args:
        root: folder of the logs.
        name, version: the log's folder is ``root/name/version``.
        unwritten: where to note that the log ended.
    """

    def __init__(self, root: Path, name: str, version: str, unwritten: Unwritten) -> None:
        super().__init__(root, name=name, version=version)
        self.unwritten = unwritten
        self._ended = False

    @property
    def experiment(self) -> Any:
        if not self._ended:
            with self._sparing():
                return super().experiment
        return _Nothing()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with self._sparing():
            super().log_metrics(metrics, step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        with self._sparing():
            super().log_hyperparams(*args, **kwargs)

    def save(self) -> None:
        with self._sparing():
            super().save()

    def finalize(self, status: str) -> None:
        with self._sparing():
            super().finalize(status)
        if self._ended and self._experiment is not None:  # its thread and its file are still there
            writers: dict[str, Any] = self._experiment.all_writers or {}
            for writer in writers.values():
                with contextlib.suppress(OSError):
                    writer.close()

    @contextlib.contextmanager
    def _sparing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # Lightning hides the one in the other
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            self._ended = True
            self.unwritten.add("TensorBoard logs", cause)


class _Nothing:
    """Takes every call of a writer and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self


@contextlib.contextmanager
def quiet_writers() -> Iterator[None]:
    """No traceback on the terminal when a thread of TensorBoard's meets a full disk: who calls it next is told."""
    before = threading.excepthook

    def hook(args: Any) -> None:
        writes = type(args.thread).__name__ == "_AsyncWriterThread"
        if not (writes and issubclass(args.exc_type, OSError)):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
