"""Image metrics, as subclasses of `torchmetrics.Metric`."""

from lightning_fv.metrics.high_frequency import HighFrequencyEnergy, natural_high_frequency
from lightning_fv.metrics.saturation import SaturatedPixels

__all__ = ["HighFrequencyEnergy", "SaturatedPixels", "natural_high_frequency"]
