"""Transform robustness: random transforms that a picture must survive (Olah et al. 2017)."""

from lightning_fv.transforms.random import KeyedTransform, RandomNoise, RandomWarp, study_warp

__all__ = ["KeyedTransform", "RandomNoise", "RandomWarp", "study_warp"]
