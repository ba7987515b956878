"""Transform robustness: random transforms that a picture must survive (Olah et al. 2017)."""

from lightning_fv.transforms.background import RandomBackground
from lightning_fv.transforms.crop import RandomCrop
from lightning_fv.transforms.keyed import KeyedTransform
from lightning_fv.transforms.noise import RandomNoise
from lightning_fv.transforms.presets import study_warp
from lightning_fv.transforms.warp import RandomWarp

__all__ = ["KeyedTransform", "RandomBackground", "RandomCrop", "RandomNoise", "RandomWarp", "study_warp"]
