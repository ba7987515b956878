"""Networks to look at, with the preprocessing and class names that belong to them."""

from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.load import load_network

__all__ = ["VisionNetwork", "load_network"]
