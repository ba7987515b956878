"""Several runs' pictures of the same targets, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageFont

from lightning_fv.report.page import page
from lightning_fv.report.pictures import read_picture, save_atomic
from lightning_fv.report.sheet import fit_text, wrap_text
from lightning_fv.runs.captions import caption
from lightning_fv.runs.comparison_folder import ComparisonFolder
from lightning_fv.runs.files import write_text_atomic
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record

_GAP, _LINE, _FONT = 10, 16, 13


def side_by_side(
    folder: ComparisonFolder,
    columns: Mapping[str, Sequence[Record]],
    means: Mapping[str, Mapping[str, float]],
    runs: Mapping[str, Path],
) -> None:
    """Write the sheet and the page of a comparison: a row per target, a column per run, scores under each picture.

    Args:
        folder: where to write; the records' images are relative to it.
        columns: records by column name. A target that a column does not have leaves its cell empty.
        means: scores averaged over a column.
        runs: the columns' run folders, relative to ``folder``.
    """
    targets = list(dict.fromkeys(record.target for records in columns.values() for record in records))
    by_target = {name: {record.target: record for record in records} for name, records in columns.items()}
    rows = {target: [by_target[name].get(target) for name in columns] for target in targets}
    _draw(folder.path, rows, list(columns), folder.sheet)
    cells = {
        target: [record and {"record": record, "lines": lines(record), "url": _url(record.image)} for record in row]
        for target, row in rows.items()
    }
    links = {name: quote(RunFolder(run).gallery.as_posix()) for name, run in runs.items()}
    keys = list(dict.fromkeys(key for mean in means.values() for key in mean))
    text = page("comparison.html", rows=cells, columns=list(columns), means=means, keys=keys, links=links)
    write_text_atomic(folder.page, text)


def lines(record: Record) -> list[str]:
    """The text under a picture: its own score, those of the other networks, image metrics."""
    if record.status != "done" or record.score is None:
        return [record.status]
    scores = record.scores
    own = f"{record.score:.4g}" + (f"  p {scores['probability']:.2f}" if "probability" in scores else "")
    others = []
    for key, value in scores.items():
        if key.startswith("p("):
            judge, _, own_size = key.partition(", own size")
            if not own_size:
                others.append(f"{key} {value:.2f}")
            elif value != scores.get(f"{judge})"):
                others.append(f"     at its own size {value:.2f}")
    looks = f"high freq. {scores['high_frequency_ratio']:.2f}x" if "high_frequency_ratio" in scores else ""
    saturated = f"  saturated {scores['saturated']:.1%}" if "saturated" in scores else ""
    return [own, *others, (looks + saturated).strip()]


def _url(image: str | None) -> str | None:
    return None if image is None else quote(image)


def _draw(folder: Path, rows: Mapping[str, Sequence[Record | None]], columns: Sequence[str], path: Path) -> None:
    side = max(48, min(200, 16000 // max(1, len(rows)) - 100))  # below the 32767 px limit of viewers
    texts = {t: [lines(record) if record else [] for record in row] for t, row in rows.items()}
    text = _LINE * max((len(cell) for row in texts.values() for cell in row), default=1)
    title, left = 2 * _LINE, 130
    width = left + len(columns) * (side + _GAP) + _GAP
    sheet = Image.new("RGB", (width, title + len(rows) * (side + text + _GAP) + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for number, name in enumerate(columns):
        draw.text((left + number * (side + _GAP), _GAP), fit_text(draw, name, font, side), fill="black", font=font)
    for index, (target, row) in enumerate(rows.items()):
        top = title + index * (side + text + _GAP)
        for line, words in enumerate(wrap_text(draw, caption(target), font, left - 2 * _GAP)):
            draw.text((_GAP, top + line * _LINE), words, fill="black", font=font)
        for number, record in enumerate(row):
            x = left + number * (side + _GAP)
            draw.rectangle((x, top, x + side - 1, top + side - 1), fill="#dddddd")
            if record is None:
                continue
            if record.image is not None:
                picture = read_picture(folder / record.image)
                scale = side / max(picture.size)
                size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
                shown = picture.resize(size, Image.Resampling.BICUBIC)
                sheet.paste(shown, (x + (side - size[0]) // 2, top + (side - size[1]) // 2))
            colour = "black" if record.status == "done" else "#c00000"
            for line, words in enumerate(texts[target][number]):
                place = (x, top + side + 1 + line * _LINE)
                draw.text(place, fit_text(draw, words, font, side), fill=colour, font=font)
    save_atomic(path, sheet, "PNG")
