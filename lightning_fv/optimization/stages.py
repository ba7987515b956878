"""Stages of a render, which are Lightning's epochs."""

import math
from collections.abc import Iterator

STAGES = 16
"""Stages (epochs) in a render unless the recipe says otherwise."""


class Steps:
    """Replaces a data loader: yields the numbers of a stage's steps, without workers, sampler or random draws."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


def steps_of_a_stage(asked: int | None, max_steps: int) -> int:
    """Steps in a stage: as asked for, or a sixteenth of the render."""
    return asked or max(1, math.ceil(max_steps / STAGES))
