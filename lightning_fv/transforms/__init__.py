"""Transform robustness: random transforms that a picture must survive (Olah et al. 2017)."""

from lightning_fv.transforms.background import RandomBackground
from lightning_fv.transforms.blur import RandomBlur
from lightning_fv.transforms.crop import RandomCrop
from lightning_fv.transforms.flip import RandomFlip
from lightning_fv.transforms.jitter import RandomJitter
from lightning_fv.transforms.keyed import KeyedTransform, PreparedTransform
from lightning_fv.transforms.noise import RandomNoise
from lightning_fv.transforms.pad import Pad
from lightning_fv.transforms.presets import study_warp
from lightning_fv.transforms.resize import Resize
from lightning_fv.transforms.rotate import RandomRotate
from lightning_fv.transforms.scale import RandomScale
from lightning_fv.transforms.translate import RandomTranslate
from lightning_fv.transforms.warp import RandomWarp

__all__ = [
    "KeyedTransform",
    "Pad",
    "PreparedTransform",
    "RandomBackground",
    "RandomBlur",
    "RandomCrop",
    "RandomFlip",
    "RandomJitter",
    "RandomNoise",
    "RandomRotate",
    "RandomScale",
    "RandomTranslate",
    "RandomWarp",
    "Resize",
    "study_warp",
]
