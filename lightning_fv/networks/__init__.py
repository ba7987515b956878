"""Networks to visualize, with their preprocessing and class names."""

from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.load import load_network

__all__ = ["VisionNetwork", "load_network"]
