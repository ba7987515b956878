"""Image metrics, as subclasses of `torchmetrics.Metric`."""

from lightning_fv.metrics.class_agreement import ClassAgreement
from lightning_fv.metrics.high_frequency import HighFrequencyEnergy, windowed_power
from lightning_fv.metrics.mono_score import MonoScore
from lightning_fv.metrics.saturation import SaturatedPixels
from lightning_fv.metrics.spectrum_distance import SpectrumDistance, log_spectral_distance, radial_spectrum
from lightning_fv.metrics.total_variation_density import TotalVariationDensity
from lightning_fv.metrics.two_choice import TwoChoice

__all__ = [
    "ClassAgreement",
    "HighFrequencyEnergy",
    "MonoScore",
    "SaturatedPixels",
    "SpectrumDistance",
    "TotalVariationDensity",
    "TwoChoice",
    "log_spectral_distance",
    "radial_spectrum",
    "windowed_power",
]
