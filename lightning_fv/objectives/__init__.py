"""What to maximise: one number per image, higher is better."""

from lightning_fv.objectives.base import LOGITS, Activations, Objective
from lightning_fv.objectives.blur import Blur
from lightning_fv.objectives.boundary import Boundary
from lightning_fv.objectives.caricature import Caricature
from lightning_fv.objectives.channel import Channel
from lightning_fv.objectives.direction import Direction
from lightning_fv.objectives.distribution_matching import DistributionMatching
from lightning_fv.objectives.facets import Facets
from lightning_fv.objectives.function import Function
from lightning_fv.objectives.interpolation import interpolation
from lightning_fv.objectives.inversion import Inversion
from lightning_fv.objectives.l1 import L1
from lightning_fv.objectives.l2 import L2
from lightning_fv.objectives.layer import Layer
from lightning_fv.objectives.layer_distance import LayerDistance
from lightning_fv.objectives.linf import Linf
from lightning_fv.objectives.logit import Logit
from lightning_fv.objectives.minimum import Minimum
from lightning_fv.objectives.neuron import Neuron
from lightning_fv.objectives.opacity import OPACITY, REACHED, Opacity
from lightning_fv.objectives.pattern import Pattern
from lightning_fv.objectives.penalty import Penalty
from lightning_fv.objectives.probability import Probability
from lightning_fv.objectives.sae_latent import SAELatent
from lightning_fv.objectives.stack import stack_objectives
from lightning_fv.objectives.style import Style
from lightning_fv.objectives.token import Token
from lightning_fv.objectives.total_variation import TotalVariation

__all__ = [
    "L1",
    "L2",
    "LOGITS",
    "OPACITY",
    "REACHED",
    "Activations",
    "Blur",
    "Boundary",
    "Caricature",
    "Channel",
    "Direction",
    "DistributionMatching",
    "Facets",
    "Function",
    "Inversion",
    "Layer",
    "LayerDistance",
    "Linf",
    "Logit",
    "Minimum",
    "Neuron",
    "Objective",
    "Opacity",
    "Pattern",
    "Penalty",
    "Probability",
    "SAELatent",
    "Style",
    "Token",
    "TotalVariation",
    "interpolation",
    "stack_objectives",
]
