"""Pure tensor mathematics: no state, no network, no configuration."""

from lightning_fv.functional.classes import class_probability, class_rank
from lightning_fv.functional.color import correlate, decorrelate
from lightning_fv.functional.device import constant, on_device
from lightning_fv.functional.gram import gram, gram_cosine
from lightning_fv.functional.image import (
    MAX_SIDE,
    blur_reach,
    box_blur,
    composite,
    finite_uint8,
    gaussian_blur,
    resize_images,
    to_uint8,
)
from lightning_fv.functional.mmd import polynomial_mmd
from lightning_fv.functional.modes import torch_defaults
from lightning_fv.functional.pairs import feature_distances, mean_of_pairs
from lightning_fv.functional.path_similarity import path_similarity
from lightning_fv.functional.photos import PhotoSet, photo_high_frequency, photo_spectrum
from lightning_fv.functional.random import KeyedUniforms, keyed_generator, seed_of
from lightning_fv.functional.ranks import midranks, rank_correlation, share_above
from lightning_fv.functional.rows import pack, unpack
from lightning_fv.functional.spectrum import (
    blur_transfer,
    frequencies,
    keep_in_place,
    resize_spectrum,
    spectrum_to_image,
    spectrum_weights,
)
from lightning_fv.functional.two_choice import TwoChoiceTrials

__all__ = [
    "MAX_SIDE",
    "KeyedUniforms",
    "PhotoSet",
    "TwoChoiceTrials",
    "blur_reach",
    "blur_transfer",
    "box_blur",
    "class_probability",
    "class_rank",
    "composite",
    "constant",
    "correlate",
    "decorrelate",
    "feature_distances",
    "finite_uint8",
    "frequencies",
    "gaussian_blur",
    "gram",
    "gram_cosine",
    "keep_in_place",
    "keyed_generator",
    "mean_of_pairs",
    "midranks",
    "on_device",
    "pack",
    "path_similarity",
    "photo_high_frequency",
    "photo_spectrum",
    "polynomial_mmd",
    "rank_correlation",
    "resize_images",
    "resize_spectrum",
    "seed_of",
    "share_above",
    "spectrum_to_image",
    "spectrum_weights",
    "to_uint8",
    "torch_defaults",
    "unpack",
]
