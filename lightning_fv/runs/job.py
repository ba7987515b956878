"""Jobs: fixed batches of targets, cut from the list by batch size alone, each one `Trainer.fit`."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reading a run needs no torch
    from torch import Tensor

    from lightning_fv.runs.start_photo import StartPhoto
    from lightning_fv.targets import Target

FORMAT = 4
"""Incremented when a release renders other pictures from the same settings, or describes settings differently, so that old
results are not mistaken for new ones."""


@dataclass(frozen=True)
class Job:
    """A batch of targets that is rendered together.

    Attributes:
        id: hash over everything that changes its pictures.
        targets: one picture each.
        start: (B, 3, H, W) in [0, 1], the pictures to start from instead of noise, or None.
        photos: the photos that these are, one per target, or none.
    """

    id: str
    targets: "tuple[Target, ...]"
    start: "Tensor | None" = field(default=None, compare=False)
    photos: "tuple[StartPhoto, ...]" = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """The job's targets in a few words, for messages."""
        more = len(self.targets) - 1
        return self.targets[0].text + (f" and {more} more" if more else "")


def make_jobs(
    targets: "Sequence[Target]",
    batch_size: int,
    settings: Mapping[str, Any],
    details: Sequence[Any] = (),
    start: "Tensor | None" = None,
    photos: "Sequence[StartPhoto]" = (),
) -> list[Job]:
    """Cut targets into jobs of at most ``batch_size``, in order.

    Several pictures of a unit stay in one job, since diversity compares them: jobs may be smaller for it, and a unit with more
    pictures than ``batch_size`` has a larger job of its own.

    Args:
        targets: what to render; several pictures of a unit one after another.
        batch_size: pictures in a job.
        settings: plain values, everything that changes a picture besides its target: network and its digest, recipe, seed, steps.
        details: plain values, what each target's pictures depend on besides its key; one per target, or none.
        start: (B, 3, H, W), the pictures to start from, one per target.
        photos: the photos that these are, one per target, or none.
    """
    sizes: list[int] = []
    for unit in (target.facets for target in targets if target.facet == 1):
        if sizes and sizes[-1] + unit <= batch_size:
            sizes[-1] += unit
        else:
            sizes.append(unit)
    jobs = []
    for end, size in zip(itertools.accumulate(sizes), sizes, strict=True):
        rows = slice(end - size, end)
        batch = tuple(targets[rows])
        key = json.dumps([FORMAT, [target.key for target in batch], list(details[rows]), settings], sort_keys=True)
        job_id = hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
        jobs.append(Job(job_id, batch, None if start is None else start[rows], tuple(photos[rows])))
    return jobs


def smallest_batch_size(jobs: Sequence[Job]) -> int:
    """The smallest batch size that cuts these jobs again."""
    mixed = [job for job in jobs if any(target.facet == 1 for target in job.targets[1:])]
    return max((len(job.targets) for job in mixed), default=1)


def differences(saved: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Which settings differ and how, such as ``seed is 1, in the run 0``."""
    found = []
    for name in [*saved, *(name for name in now if name not in saved)]:
        before, after = saved.get(name), now.get(name)
        if len(_parts(before)) == len(_parts(after)) > 0:
            before, after = _parts(before), _parts(after)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{name}.")
        elif json.dumps(before) != json.dumps(after):  # 1 and 1.0 are not the same size
            what = _NAMES.get(f"{prefix}{name}", f"{prefix}{name}")
            found.append(f"{what} is {_short(after)}, in the run {_short(before)}")
    return found


def _parts(value: object) -> dict[str, object]:
    """By their place, the parts of a list such as that of penalties, each with settings of its own; none of anything else."""
    parts = value if isinstance(value, list) and all(isinstance(part, dict) for part in value) else []
    return {str(place): part for place, part in enumerate(parts)}


_NAMES = {
    "digest": "the weights' digest",
    "preparation.structure": "the digest of the network's structure",
    "start": "the digest of start",
    "start.blake2b": "the digest of start",
    "trainer.ddp": "the number of ddp ranks",
}


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}..."
