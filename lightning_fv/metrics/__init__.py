"""Metrics of pictures and units, as subclasses of `torchmetrics.Metric`."""

from lightning_fv.metrics.class_agreement import ClassAgreement
from lightning_fv.metrics.feature_diversity import FeatureDiversity
from lightning_fv.metrics.high_frequency import HighFrequencyEnergy, high_frequency_share, windowed_power
from lightning_fv.metrics.kernel_distance import KernelDistance
from lightning_fv.metrics.mono_score import MonoScore
from lightning_fv.metrics.path_similarity import PathSimilarity
from lightning_fv.metrics.saturation import SaturatedPixels, saturated_share
from lightning_fv.metrics.seed_agreement import SeedAgreement
from lightning_fv.metrics.spectrum_distance import SpectrumDistance, log_spectral_distance, radial_spectrum
from lightning_fv.metrics.total_variation_density import TotalVariationDensity
from lightning_fv.metrics.two_choice import TwoChoice

__all__ = [
    "ClassAgreement",
    "FeatureDiversity",
    "HighFrequencyEnergy",
    "KernelDistance",
    "MonoScore",
    "PathSimilarity",
    "SaturatedPixels",
    "SeedAgreement",
    "SpectrumDistance",
    "TotalVariationDensity",
    "TwoChoice",
    "high_frequency_share",
    "log_spectral_distance",
    "radial_spectrum",
    "saturated_share",
    "windowed_power",
]
