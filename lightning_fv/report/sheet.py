"""The contact sheet, and the film of the pictures as they develop."""

import contextlib
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lightning_fv.errors import RunFolderError, warn
from lightning_fv.report.pictures import read_picture, save_atomic
from lightning_fv.runs.record import Record

# A sheet of thousands of pictures must still open: thumbnails shrink so that it stays below this side.
_LARGEST_SIDE = 8000
_GAP, _LABEL, _FONT = 8, 34, 13
_RED = "#c00000"


def contact_sheet(folder: Path, records: Sequence[Record], path: Path, side: int = 160) -> None:
    """Write a labelled sheet of a run's pictures, in manifest order; targets without a picture show their status.

    Several pictures of a unit stand side by side in one row if they fit, and the one with the highest score is called best.

    Args:
        folder: the run folder that the records' images are relative to.
        records: one per cell.
        path: the PNG to write.
        side: side of a cell's picture in pixels; smaller pictures are enlarged (bicubic).
    """
    places = _places(records)
    rows, columns = (1 + max((place[axis] for place in places), default=0) for axis in (0, 1))
    side = max(
        16, min(side, (_LARGEST_SIDE - _GAP) // columns - _GAP, (_LARGEST_SIDE - _GAP) // max(1, rows) - _GAP - _LABEL)
    )
    sheet = Image.new("RGB", (columns * (side + _GAP) + _GAP, rows * (side + _LABEL + _GAP) + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for record, (row, column) in zip(records, places, strict=True):
        left = _GAP + column * (side + _GAP)
        top = _GAP + row * (side + _LABEL + _GAP)
        draw.rectangle((left, top, left + side - 1, top + side - 1), fill="#dddddd")
        if record.image is not None:
            with contextlib.suppress(RunFolderError):  # a picture that is missing or damaged leaves its cell grey
                picture = read_picture(folder / record.image)
                scale = side / max(picture.size)
                size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
                shown = picture.resize(size, Image.Resampling.BICUBIC)
                sheet.paste(shown, (left + (side - size[0]) // 2, top + (side - size[1]) // 2))
        colour = "black"
        if record.status != "done":
            colour = _RED
            draw.rectangle((left - 3, top - 3, left + side + 2, top + side + 2), outline=_RED, width=3)
        score = record.status if record.status != "done" else _score(record)
        draw.text((left, top + side + 1), fit_text(draw, record.target, font, side), fill=colour, font=font)
        draw.text((left, top + side + 16), fit_text(draw, score, font, side), fill=colour, font=font)
    save_atomic(path, sheet, "PNG")


def _places(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Row and column of each cell of a sheet that is half as wide again as high; a unit that does not fit begins a row."""
    units = [
        len(list(group)) for _, group in itertools.groupby(enumerate(records), lambda pair: pair[1].unit or pair[0])
    ]
    columns = max(1, math.ceil(math.sqrt(1.5 * len(records))))
    if 1 < (largest := max(units, default=1)) <= max(columns, 8):
        columns = max(1, round(columns / largest)) * largest
    places, row, column = [], 0, 0
    for count in units:
        if column and column + min(count, columns) > columns:
            row, column = row + 1, 0
        for _ in range(count):
            if column == columns:
                row, column = row + 1, 0
            places.append((row, column))
            column += 1
    return places


def film(frames: Sequence[Sequence[Path]], path: Path, milliseconds: int = 250) -> None:
    """Write an animated WebP of the pictures as they develop; the last frame stays longer.

    Args:
        frames: for each job, its frames in order; jobs are stacked vertically, and one with fewer frames holds its last.
            A damaged frame is left out, with a warning: frames are not rendered again.
        path: the file to write.
        milliseconds: how long a frame is shown.
    """
    jobs = [pictures for job in frames if (pictures := _readable(job))]
    if not jobs:
        return
    stages = range(max(len(job) for job in jobs))
    composed = [_stack([job[min(number, len(job) - 1)] for job in jobs]) for number in stages]
    enlarge = max(1, 512 // max(composed[-1].size))  # frames of small pictures would be tiny
    composed = [f.resize((f.width * enlarge, f.height * enlarge), Image.Resampling.BICUBIC) for f in composed]
    size = max(f.width for f in composed), max(f.height for f in composed)
    composed = [frame if frame.size == size else frame.resize(size, Image.Resampling.BICUBIC) for frame in composed]
    durations = [milliseconds] * (len(composed) - 1) + [8 * milliseconds]
    options = {"save_all": True, "append_images": composed[1:], "duration": durations, "loop": 0, "quality": 85}
    save_atomic(path, composed[0], "WEBP", **options)


def _readable(files: Sequence[Path]) -> list[Image.Image]:
    pictures = []
    for file in files:
        try:
            pictures.append(read_picture(file))
        except RunFolderError as error:
            warn(f"{error}; the film is made without it")
    return pictures


def _stack(parts: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole


def _score(record: Record) -> str:
    text = "" if record.score is None else f"{record.score:.4g}"
    probability = record.scores.get("probability")
    text += f"  p={probability:.2f}" if isinstance(probability, float) else ""
    return f"{text}  best" if record.scores.get("rank") == 1 else text


def fit_text(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """One line of text of at most ``width`` pixels; a longer one loses its middle, since a target ends with its layer or unit."""
    text = " ".join(text.split())
    shown, kept = text, len(text)
    while kept > 1 and draw.textlength(shown, font=font) > width:
        kept -= 1
        shown = text[: kept - kept // 2] + "…" + text[len(text) - kept // 2 :]
    return shown
