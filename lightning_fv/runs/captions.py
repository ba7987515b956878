"""What stands below a picture: its target in few words, and whether its network is untrained."""

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a run needs no torch
    from lightning_fv.networks import VisionNetwork
    from lightning_fv.runs.record import Record

UNTRAINED = " (untrained)"

_TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_FUNCTION = re.compile(rf"\bFunction\(name=({_TEXT}), layers=(\((?:{_TEXT},? ?)*\))\)")
_UNIT = re.compile(rf"\b(Logit|Probability|Channel|Layer)\((?:({_TEXT}))?(?:, )?([0-9]+)?\)")
_LAYERS = {"Logit": "logits", "Probability": "probability"}
_NUMBER = re.compile(r" #[0-9]+$")


def network_label(network: "VisionNetwork") -> str:
    """A network's name in records, which tells whether its weights are random: ``timm/resnet18 (untrained)``."""
    source = network.source
    untrained = source and source["weights"] is None and not source["name"].startswith("checkpoint:")
    return network.name + (UNTRAINED if untrained else "")


def caption(target: str) -> str:
    """A target in few words: expressions of Python as a command line writes them, everything else as it is.

    >>> caption("Function(name='contrast', layers=('layer3',))")
    'contrast(layer3)'
    >>> caption("0.5 * Logit(11) - Channel('layer4', 40)")
    'sum(0.5*logits:11 - layer4:40)'
    """
    number = _NUMBER.search(target)
    expression = target[: number.start()] if number else target
    text, functions = _FUNCTION.subn(_call, expression)
    text, units = _UNIT.subn(_unit, text)
    if not functions + units:
        return target
    outside, inner = text, ""
    while outside != inner:
        inner, outside = outside, re.sub(r"\([^()]*\)", "", outside)
    if re.search(r" [-+*] |^-", outside):
        text = f"sum({text.replace(' * ', '*')})"
    return text + (number[0] if number else "")


def picture_caption(record: "Record") -> str:
    """The caption of a picture that stands without its network's name."""
    return caption(record.target) + (UNTRAINED if record.network.endswith(UNTRAINED) else "")


def _call(found: re.Match[str]) -> str:
    return f"{ast.literal_eval(found[1])}({', '.join(ast.literal_eval(found[2]))})"


def _unit(found: re.Match[str]) -> str:
    layer = _LAYERS.get(found[1]) or (ast.literal_eval(found[2]) if found[2] else None)
    if layer is None or (found[3] is None) != (found[1] == "Layer"):
        return found[0]  # a class of the same name from somewhere else
    return layer if found[3] is None else f"{layer}:{found[3]}"
