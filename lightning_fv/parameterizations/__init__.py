"""Differentiable representations of a batch of pictures."""

from lightning_fv.parameterizations.alpha import Alpha
from lightning_fv.parameterizations.base import Parameterization
from lightning_fv.parameterizations.cppn import CPPN
from lightning_fv.parameterizations.fourier import Fourier
from lightning_fv.parameterizations.laplacian_pyramid import LaplacianPyramid
from lightning_fv.parameterizations.maco import MACO
from lightning_fv.parameterizations.pixel import Pixel
from lightning_fv.parameterizations.shared import Shared

__all__ = ["CPPN", "MACO", "Alpha", "Fourier", "LaplacianPyramid", "Parameterization", "Pixel", "Shared"]
