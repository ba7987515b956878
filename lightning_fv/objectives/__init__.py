"""What to maximise: one number per picture, higher is better."""

from lightning_fv.objectives.activation import Channel, Layer, Logit, Neuron, Probability
from lightning_fv.objectives.base import LOGITS, Activations, Objective
from lightning_fv.objectives.penalty import L1, L2, Penalty, TotalVariation

__all__ = [
    "L1",
    "L2",
    "LOGITS",
    "Activations",
    "Channel",
    "Layer",
    "Logit",
    "Neuron",
    "Objective",
    "Penalty",
    "Probability",
    "TotalVariation",
]
