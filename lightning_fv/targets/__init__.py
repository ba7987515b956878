"""Targets: parsed from text and checked against the network before anything runs."""

from lightning_fv.targets.grammar import TargetsLike, parse_targets
from lightning_fv.targets.resolve import check_layer, check_size, resolve_targets
from lightning_fv.targets.target import Target

__all__ = ["Target", "TargetsLike", "check_layer", "check_size", "parse_targets", "resolve_targets"]
