"""Jobs: fixed batches of targets, cut from the list by batch size alone, each one `Trainer.fit`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reading a run needs no torch
    from lightning_fv.targets import Target

FORMAT = 2
"""Incremented when a release renders other pictures from the same settings, or describes settings differently, so that old
results are not mistaken for new ones."""


@dataclass(frozen=True)
class Job:
    """A batch of targets that is rendered together.

    Attributes:
        id: hash over everything that changes its pictures.
        targets: one picture each.
    """

    id: str
    targets: "tuple[Target, ...]"

    @property
    def text(self) -> str:
        """The job's targets in a few words, for messages."""
        more = len(self.targets) - 1
        return self.targets[0].text + (f" and {more} more" if more else "")


def make_jobs(targets: "Sequence[Target]", batch_size: int, settings: Mapping[str, Any]) -> list[Job]:
    """Cut targets into jobs of ``batch_size``, in order; the last may be smaller.

    Args:
        targets: what to render.
        batch_size: pictures in a job.
        settings: plain values, everything that changes a picture besides its target: network and its digest, recipe, seed, steps.
    """
    jobs = []
    for start in range(0, len(targets), batch_size):
        batch = tuple(targets[start : start + batch_size])
        key = json.dumps([FORMAT, [target.key for target in batch], settings], sort_keys=True)
        jobs.append(Job(hashlib.blake2b(key.encode(), digest_size=6).hexdigest(), batch))
    return jobs
