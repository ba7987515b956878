"""What a render returns: pictures with their targets, scores and records."""

from __future__ import annotations

import base64
import html
import itertools
import math
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

from lightning_fv.engines.plan import Plan
from lightning_fv.engines.run import Outcome
from lightning_fv.errors import DeviceMemoryError, RunFolderError, TargetError, nearest
from lightning_fv.functional import to_uint8
from lightning_fv.objectives import Objective
from lightning_fv.report import write_report
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import encode_png, read_picture_tensor, write_picture
from lightning_fv.runs.record import Record
from lightning_fv.targets import Target
from lightning_fv.targets.grammar import quoted
from lightning_fv.targets.lookup import rows_of


class RenderedPicture(NamedTuple):
    """One picture of a `Rendering`."""

    image: Tensor
    """(3, H, W) in [0, 1], on the CPU."""
    score: float
    """The target's value on the plain picture; NaN if it is not known or not finite."""
    target: Target
    record: Record
    """Its line of the manifest."""

    def __repr__(self) -> str:
        height, width = self.image.shape[-2:]
        return f"<RenderedPicture of {self.target.text}: {height} x {width} px, {self.record.status}, score {self.score:.4g}>"


NAMED, SHOWN = 3, 100
"""How many targets the text of a `Rendering` names, and how many pictures a notebook shows of it."""


LISTED = 8
"""How many targets the message lists that one is not among; of more, the nearest."""


@dataclass(repr=False)
class Rendering:
    """Rendered pictures and their scores.

    ``rendering[0]`` is a `RenderedPicture`, ``rendering["logits:pizza"]`` that of a target, also as ``"logits:11"``, as the text or the
    objective that was rendered, or as a Target; ``rendering[1:3]`` is a Rendering of some,
    and a loop over a Rendering goes through its `RenderedPicture`s in order. Of several pictures of a target,
    ``rendering["logits:pizza"]`` is the one with the highest score, ``rendering["logits:pizza #2"]`` the second, and
    ``rendering.facets("logits:pizza")`` a Rendering of all of them.

    Attributes:
        images: (N, 3, H, W) in [0, 1], on the CPU. Of jobs that were done before, as read from their files: multiples of 1/255.
        scores: (N,), each target's value on its plain picture.
        targets: one per picture.
        records: the manifest's records.
        recipe: how they were made.
        folder: the run folder that holds them, or None.
        categories: names of the network's classes, by index; empty if they are not known.
    """

    images: Tensor
    scores: Tensor
    targets: list[Target]
    records: list[Record]
    recipe: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    categories: Sequence[str] = ()

    def __repr__(self) -> str:
        """``<Rendering of 8 pictures: logits:goldfish, logits:monarch, logits:lion and 5 more; 64 x 64 px, in runs/classes>``."""
        count, targets = len(self), list(dict.fromkeys(target.unit for target in self.targets))
        named = ", ".join(targets[:NAMED]) + (f" and {len(targets) - NAMED} more" if len(targets) > NAMED else "")
        others = Counter(record.status for record in self.records if record.status != "done")
        parts = [
            f"{self.images.shape[-2]} x {self.images.shape[-1]} px",
            *(f"{n} {status}" for status, n in others.items()),
        ]
        place = f", in {self.folder}" if self.folder is not None else ""
        return f"<Rendering of {count} picture{'s' * (count != 1)}: {named}; {', '.join(parts)}{place}>"

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[RenderedPicture]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, which: int | str | Objective | Target) -> RenderedPicture: ...

    @overload
    def __getitem__(self, which: slice) -> Rendering: ...

    def __getitem__(self, which: int | str | Objective | Target | slice) -> RenderedPicture | Rendering:
        """A picture by its position, or by its target: its text, its objective or itself; or a Rendering of a slice.

        Raises:
            IndexError: there is no picture at that position.
            TargetError: there is none of that target.
            TypeError: it is none of these.
        """
        if isinstance(which, slice):
            return Rendering(
                self.images[which],
                self.scores[which],
                self.targets[which],
                self.records[which],
                self.recipe,
                self.folder,
                self.categories,
            )
        if isinstance(which, str | Objective | Target):
            which = min(self._rows_of(which), key=lambda row: self.records[row].scores.get("rank", math.inf))
        try:
            number = operator.index(which)
        except TypeError:
            raise TypeError(
                f"a Rendering is indexed by a position, a slice, a target as text or an objective, not by a {type(which).__name__}"
            ) from None
        target = self.targets[number]
        return RenderedPicture(self.images[number], float(self.scores[number]), target, self.records[number])

    def facets(self, target: str | Objective) -> Rendering:
        """All pictures of a target, in order.

        Args:
            target: as text or as objective.

        Raises:
            TargetError: there is none of that target.
        """
        rows = self._rows_of(target)
        return self[rows[0] : rows[-1] + 1]

    def _rows_of(self, wanted: str | Objective | Target) -> list[int]:
        rows = rows_of(wanted, self.targets, self.categories)
        if not rows:
            text = wanted.text if isinstance(wanted, Target) else str(wanted)
            texts = [target.text for target in self.targets]
            if len(texts) > LISTED:
                texts = [*(nearest(text, texts) or texts[:LISTED]), "..."]
            raise TargetError(f"no picture of {quoted(text)}; available: {', '.join(texts)}")
        return rows

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write the pictures, a contact sheet, the manifest and a gallery to a folder and return it.

        To use pictures further on the command line, as by ``lightning-fv report``, render with ``out=FOLDER`` instead.

        Args:
            folder: a new or an empty one.
            overwrite: whether to replace what was saved there before by this method; other files are kept.

        Raises:
            RunFolderError: the folder holds something else, or cannot be created or written.
        """
        run = RunFolder(folder)
        self._make_room(run, overwrite)
        try:
            run.images.mkdir(parents=True, exist_ok=True)
            for record, picture in zip(self.records, self.images, strict=True):
                record.image = None
                if bool(torch.isfinite(picture).all()):
                    file = run.picture(record.id)
                    record.image = run.relative(file)
                    record.sign(write_picture(file, picture, record, self.recipe))
        except OSError as error:
            raise RunFolderError(f"cannot write to {run}: {error.strerror}; choose another folder") from None
        write_report(run, lambda: self.records)
        return run.path

    def _make_room(self, run: RunFolder, overwrite: bool) -> None:
        """Check that a folder is empty, or remove the pictures that were saved there before."""
        if not run.path.is_dir() or not any(run.path.iterdir()):
            return
        if run.begun() or not run.manifest.is_file():
            raise RunFolderError(f"{run} is not empty and was not written by save; choose another folder")
        if not overwrite:
            raise RunFolderError(
                f"{run} holds pictures already; replace them with overwrite=True, or choose another folder"
            )
        run.check_entries()
        for record in run.records():
            run.picture(record.id).unlink(missing_ok=True)

    def _repr_html_(self) -> str:
        """The pictures with their targets and scores, for a notebook; of very many, the first `SHOWN`."""
        cells = []
        for record, picture in zip(self.records[:SHOWN], self.images[:SHOWN], strict=True):
            source = base64.b64encode(encode_png(to_uint8(picture.nan_to_num(0.5)))).decode()
            score = record.status if record.score is None else f"{record.score:.4g}"
            cells.append(
                '<figure style="display:inline-block;margin:4px;text-align:center">'
                f'<img src="data:image/png;base64,{source}" alt="Picture of {html.escape(record.target)}" style="width:160px">'
                f"<figcaption>{html.escape(record.target)}<br>{score}</figcaption></figure>"
            )
        more = f"the first {SHOWN} of " if len(self) > SHOWN else ""
        place = f", in {self.folder}" if self.folder is not None else ""
        told = f"{more}{len(self)} picture{'s' * (len(self) != 1)}{place}"
        return "".join(cells) + (f"<p>{html.escape(told)}</p>" if more or place else "")


def rendering_of(plan: Plan, outcome: Outcome) -> Rendering:
    """The pictures and scores of a plan that was rendered in this process, or read from its run folder.

    Raises:
        DeviceMemoryError: there is no picture at all.
    """
    scores = torch.tensor([float("nan") if record.score is None else record.score for record in outcome.records])
    folder = None if plan.folder is None else plan.folder.path
    return Rendering(
        _pictures(plan, outcome),
        scores,
        plan.targets,
        outcome.records,
        plan.setup.provenance,
        folder,
        plan.setup.network.categories,
    )


def _pictures(plan: Plan, outcome: Outcome) -> Tensor:
    """All pictures, (N, 3, H, W): rendered now, or read from the run folder; NaN where there is none."""
    by_row: list[Tensor | None] = []
    records = iter(outcome.records)
    for job in plan.jobs:
        rendered = outcome.pictures.get(job.id)
        for row, record in enumerate(itertools.islice(records, len(job.targets))):
            if rendered is not None:
                by_row.append(rendered[row])
            elif plan.folder is not None and record.image is not None and record.status in ("done", "dead", "diverged"):
                by_row.append(_read(plan.folder.path / record.image, plan.setup.network.channels))
            else:
                by_row.append(None)
    known = next((picture for picture in by_row if picture is not None), None)
    if known is None:
        raise DeviceMemoryError(
            next((record.error for record in outcome.records if record.error), "nothing was rendered")
        )
    blank = torch.full_like(known, torch.nan)
    return torch.stack([blank if picture is None else picture for picture in by_row])


def _read(path: Path, channels: int) -> Tensor | None:
    """A finished picture from its file, (C, H, W); None if it has more channels than a PNG shows."""
    return read_picture_tensor(path)[:channels] if channels <= 3 else None
