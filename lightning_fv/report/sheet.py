"""The contact sheet, and the film of the pictures as they develop."""

import contextlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lightning_fv.errors import RunFolderError, warn
from lightning_fv.report.pictures import read_picture, save_atomic
from lightning_fv.runs.captions import picture_caption
from lightning_fv.runs.evidence import Evidence
from lightning_fv.runs.record import Record

# A sheet of thousands of pictures must still open: thumbnails shrink so that it stays below this side.
_LARGEST_SIDE = 8000
_GAP, _LINE, _FONT = 8, 15, 13
_INSET = 64
"""Cells of at least this side show the best photo."""
_WRAPPED = 96
"""In cells of at least this side a target that is too long for one line has two."""
_RED = "#c00000"


def contact_sheet(
    folder: Path,
    records: Sequence[Record],
    path: Path,
    side: int = 160,
    evidence: Mapping[str, Evidence] | None = None,
) -> None:
    """Write a labelled sheet of a run's pictures, in manifest order; targets without a picture show their status.

    Several pictures of a unit stand side by side in one row if they fit, and the one with the highest score is called best. With evidence, the photo
    that excites the unit most stands in the picture's corner, and the verdict below it; the upper corner of a picture that is not trusted is red.

    Args:
        folder: the run folder that the records' images are relative to.
        records: one per cell.
        path: the PNG to write.
        side: side of a cell's picture in pixels; smaller pictures are enlarged (bicubic).
        evidence: by record id.
    """
    evidence = evidence or {}
    verdicts = any(record.id in evidence for record in records)
    places = _places(records)
    rows, columns = (1 + max((place[axis] for place in places), default=0) for axis in (0, 1))
    most = 4 + _LINE * (4 if verdicts else 3)
    side = max(
        16, min(side, (_LARGEST_SIDE - _GAP) // columns - _GAP, (_LARGEST_SIDE - _GAP) // max(1, rows) - _GAP - most)
    )
    draw, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default(_FONT)
    names = [wrap_text(draw, picture_caption(record), font, side) for record in records]
    label = most - _LINE * (2 - max(map(len, names), default=1))
    sheet = Image.new("RGB", (columns * (side + _GAP) + _GAP, rows * (side + label + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for record, name, (row, column) in zip(records, names, places, strict=True):
        left = _GAP + column * (side + _GAP)
        top = _GAP + row * (side + label + _GAP)
        draw.rectangle((left, top, left + side - 1, top + side - 1), fill="#dddddd")
        if record.image is not None:
            _paste(sheet, folder / record.image, left, top, side)
        found = evidence.get(record.id)
        if found is not None and found.examples and side >= _INSET:
            inset = side // 3
            place = left + side - inset, top + side - inset
            draw.rectangle((place[0] - 2, place[1] - 2, left + side - 1, top + side - 1), fill="white")
            _paste(sheet, folder / found.examples[0].file, *place, inset)
        colour = "black"
        if record.status != "done":
            colour = _RED
            draw.rectangle((left - 3, top - 3, left + side + 2, top + side + 2), outline=_RED, width=3)
        score, *told = score_lines(record, found)
        lines = [(text, colour) for text in (*name, score if record.status == "done" else record.status)]
        if found is not None and found.verdict == "distrust":
            corner = side // 6
            draw.polygon([(left, top), (left + corner, top), (left, top + corner)], fill=_RED)
            lines += [(text, _RED) for text in told]
        else:
            lines += [(text, "black") for text in told]
        for number, (text, ink) in enumerate(lines):
            place = left, top + side + 1 + _LINE * number
            draw.text(place, fit_text(draw, text, font, side), fill=ink, font=font)
    save_atomic(path, sheet, "PNG")


def _paste(sheet: Image.Image, file: Path, left: int, top: int, side: int) -> None:
    """Show a picture in the middle of a square; one that is missing or damaged is left out."""
    with contextlib.suppress(RunFolderError):
        picture = read_picture(file)
        scale = side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        shown = picture.resize(size, Image.Resampling.BICUBIC)
        sheet.paste(shown, (left + (side - size[0]) // 2, top + (side - size[1]) // 2))


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


def score_lines(record: Record, evidence: Evidence | None) -> list[str]:
    """The score, and how it compares with photos (``x2``: twice the score of the best of them); with evidence, a second line of the verdict and what it
    rests on."""
    probability = record.scores.get("probability")
    known = record.scores if evidence is None else evidence.faithful
    multiple, percentile = known.get("photo_multiple"), known.get("photo_percentile")
    among = ""
    if isinstance(multiple, int | float) and multiple >= 0:  # a negative one says nothing
        among = f"x{float(f'{multiple:.2g}'):g}"  # .2g alone would write 120 as 1.2e+02
    elif evidence is not None and isinstance(percentile, int | float):
        among = f"above {percentile:.3g} %"
    parts = [
        "" if record.score is None else f"{record.score:.4g}",
        f"p={probability:.2f}" if isinstance(probability, float) else "",
        among,
        "highest" if record.scores.get("rank") == 1 else "",
    ]
    return ["  ".join(filter(None, parts)), *([] if evidence is None else [evidence.caption()])]


def wrap_text(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """One line of text of at most ``width`` pixels, or two if they are wide enough for words; what is longer loses the middle of the second."""
    text = " ".join(text.split())
    if width < _WRAPPED or draw.textlength(text, font=font) <= width:
        return [fit_text(draw, text, font, width)]
    most = 1
    while draw.textlength(text[: most + 1], font=font) <= width:
        most += 1
    places = [
        [found.end() for found in re.finditer(mark, text) if most // 2 < found.end() <= most + (mark == " ")]
        for mark in (" ", "[:/,@(]")
    ]
    end = next((ends[-1] for ends in places if ends), most)
    return [text[:end].rstrip(), fit_text(draw, text[end:], font, width)]


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
