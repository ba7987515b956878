"""Callbacks; they act on the visualizer through its public methods and do not know each other."""

from lightning_fv.callbacks.artifacts import ArtifactWriter
from lightning_fv.callbacks.blur import PeriodicBlur
from lightning_fv.callbacks.image_logger import ImageLogger
from lightning_fv.callbacks.progress import RenderProgress
from lightning_fv.callbacks.stop import GracefulStop
from lightning_fv.callbacks.upscale import ProgressiveUpscale

__all__ = ["ArtifactWriter", "GracefulStop", "ImageLogger", "PeriodicBlur", "ProgressiveUpscale", "RenderProgress"]
