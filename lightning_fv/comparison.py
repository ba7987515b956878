"""The same targets on several networks, or by several recipes, side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_fv.errors import printable
from lightning_fv.functional import resize_images
from lightning_fv.networks import VisionNetwork
from lightning_fv.report import read_picture, side_by_side
from lightning_fv.report.event_file import EventFile
from lightning_fv.report.events import image_event
from lightning_fv.runs.captions import UNTRAINED
from lightning_fv.runs.comparison_folder import ComparisonFolder
from lightning_fv.runs.files import write_text_atomic
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record

RATIO = "high_frequency_ratio"
OWN_SIZE = ", own size)"


def compare_runs(columns: Mapping[str, Path], judges: Sequence[VisionNetwork], folder: Path) -> dict[str, list[Record]]:
    """Show the pictures of runs side by side, each also rated by the other networks.

    Writes ``comparison.png``, ``index.html``, ``comparison.jsonl`` (a line per picture) and a TensorBoard event file.

    Args:
        columns: run folders inside ``folder``, by the names to show.
        judges: a picture of a class gets the probability of that class under each network NAME that knows the class and did
            not make the picture: how far the picture transfers. ``p(NAME)`` is that of the picture resized to the network's
            size, ``p(NAME, own size)`` that of the picture as it is: objects of a picture that grew may be too small for
            the network once it is resized.
        folder: where to write.

    Returns:
        The runs' records by column, images relative to ``folder``. Added to the scores of the manifest are those of the
        judges.

    Raises:
        RunFolderError: a picture cannot be read.
        OSError: the folder cannot be written.
    """
    rated: dict[str, list[Record]] = {}
    paths = ComparisonFolder(folder)
    for name, run in columns.items():
        rated[name] = RunFolder(run).records()
        for record in rated[name]:
            if record.image is not None:
                record.digest = None  # was of the record as the run has it
                record.image = (run / record.image).relative_to(folder).as_posix()
                _rate(record, _read(folder / record.image), judges)
    lines = (
        json.dumps({"column": name, **json.loads(r.to_json())}) for name, records in rated.items() for r in records
    )
    write_text_atomic(paths.records, "".join(f"{line}\n" for line in lines))
    side_by_side(paths, rated, summaries(rated), {name: run.relative_to(folder) for name, run in columns.items()})
    _log(paths)
    return rated


def summaries(columns: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, float]]:
    """Means over a column's pictures of each score that is a number.

    ``transfer`` is the mean over all judges at their size, ``transfer, own size`` that at the pictures' size.
    """
    means: dict[str, dict[str, float]] = {}
    for name, records in columns.items():
        values: dict[str, list[float]] = {"score": [record.score for record in records if record.score is not None]}
        for record in records:
            for key, value in record.scores.items():
                if isinstance(value, float):
                    values.setdefault(key, []).append(value)
                    if key.startswith("p("):
                        kind = "transfer, own size" if key.endswith(OWN_SIZE) else "transfer"
                        values.setdefault(kind, []).append(value)
        means[name] = {key: sum(found) / len(found) for key, found in values.items() if found}
    return means


def markdown(columns: Mapping[str, Sequence[Record]]) -> str:
    """The means as a Markdown table: one row per column of the comparison."""
    means = summaries(columns)
    judges = sorted({key for mean in means.values() for key in mean if key.startswith("p(")})
    shown = {
        "score": ("score", ".3g"),
        "probability": ("probability", ".2f"),
        **{judge: (judge, ".2f") for judge in judges},
        RATIO: ("high frequencies / photos", ".2f"),
        "saturated": ("saturated", ".1%"),
    }
    rows = [
        f"| | pictures | {' | '.join(printable(title) for title, _ in shown.values())} |",
        "|---" * (len(shown) + 2) + "|",
    ]
    for name, mean in means.items():
        cells = [f"{mean[key]:{form}}" if key in mean else "" for key, (_, form) in shown.items()]
        done = sum(record.status == "done" for record in columns[name])
        rows.append(f"| {printable(name)} | {done} of {len(columns[name])} | {' | '.join(cells)} |")
    return "\n".join(rows)


@torch.no_grad()
def _rate(record: Record, picture: Tensor, judges: Sequence[VisionNetwork]) -> None:
    kind, _, category = (record.unit or record.target).partition(":")
    for judge in judges:
        if (
            kind in ("logits", "probability")
            and judge.name != record.network.removesuffix(UNTRAINED)
            and category in judge.categories
        ):
            unit = judge.categories.index(category)
            for shown, end in ((resize_images(picture, judge.input_size), ")"), (picture, OWN_SIZE)):
                probability = float(judge(shown.to(judge.device)).softmax(1)[0, unit])
                record.scores[f"p({judge.name}{end}"] = round(probability, 4)


def _read(path: Path) -> Tensor:
    """A picture as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(read_picture(path))).permute(2, 0, 1)[None].float() / 255


def _log(folder: ComparisonFolder) -> None:
    encoded = folder.sheet.read_bytes()
    with Image.open(folder.sheet) as sheet:
        width, height = sheet.size
    for old in folder.path.glob(f"events.*{folder.event_suffix}"):
        old.unlink()  # of the comparison that is resumed: one event, not two
    file = EventFile(folder.path, folder.event_suffix)
    file.add(image_event("comparison", height, width, 0, encoded))
    file.close()
