"""Which unit of which layer: read from text, and checked against the network before anything runs."""

from lightning_fv.targets.resolve import (
    Target,
    TargetsLike,
    check_size,
    parse_targets,
    resolve_targets,
    stack_objectives,
)

__all__ = ["Target", "TargetsLike", "check_size", "parse_targets", "resolve_targets", "stack_objectives"]
