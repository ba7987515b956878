"""Image metrics, as subclasses of `torchmetrics.Metric`."""

from lightning_fv.metrics.high_frequency import HighFrequencyEnergy, windowed_power
from lightning_fv.metrics.saturation import SaturatedPixels

__all__ = [
    "HighFrequencyEnergy",
    "SaturatedPixels",
    "windowed_power",
]
