"""Differentiable representations of a batch of pictures."""

from lightning_fv.parameterizations.base import Parameterization
from lightning_fv.parameterizations.fourier import Fourier
from lightning_fv.parameterizations.pixel import Pixel

__all__ = ["Fourier", "Parameterization", "Pixel"]
