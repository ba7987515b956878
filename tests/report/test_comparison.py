"""The sheet and the page of a comparison."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_fv.report import side_by_side
from lightning_fv.report.comparison import lines
from lightning_fv.runs.comparison_folder import ComparisonFolder
from lightning_fv.runs.picture import write_picture
from lightning_fv.runs.record import Record, Status


class Links(HTMLParser):
    """Tags, links and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for key, value in attrs if key in ("href", "src") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def record(
    target: str, folder: Path | None = None, level: float = 0.5, status: Status = "done", **scores: float
) -> Record:
    """A record, with a picture of one grey in a folder if one is given."""
    made = Record(target, target, "a", status, 2.0, None, [6, 4], 1, 0, 1.0, dict(scores))
    if folder is not None:
        made.image = f"{folder.name}/{target.replace(':', '-')}.png"
        folder.mkdir(exist_ok=True)
        write_picture(folder.parent / made.image, torch.full((3, 6, 4), level), made, {})
    return made


def test_each_target_has_a_row_and_each_run_a_column(tmp_path: Path) -> None:
    folder = ComparisonFolder(tmp_path)
    columns = {
        "one": [record("logits:a", tmp_path / "one #1", 1.0), record("logits:b", tmp_path / "one #1", 0.0)],
        "two": [record("logits:b", tmp_path / "two", 0.0), record("logits:c", status="failed")],
    }
    runs = {"one": Path("one #1"), "two": Path("two")}
    for run in runs.values():
        (tmp_path / run / "gallery.html").touch()
    side_by_side(folder, columns, {"one": {"score": 1.23456}, "two": {}}, runs)
    page = Links()
    page.feed(folder.page.read_text())
    assert page.tags.count("img") == 3
    assert page.tags.count("h2") == 1
    assert "1.235" in page.text
    assert page.text.count("failed") == 2  # in the place of the picture, and below
    assert len(page.found) == 3 * 2 + 2
    assert not set("".join(page.found)) & set(" #")
    assert all((tmp_path / unquote(link)).is_file() for link in page.found)
    with Image.open(folder.sheet) as sheet:
        pixels = np.asarray(sheet.convert("L"))
    # Rows a, b and c; pictures in the two columns: white, none; black, black; none, none.
    step = (len(pixels) - 32 - 10) // 3
    middles = [[int(pixels[32 + row * step + 100, 130 + column * 210 + 100]) for column in (0, 1)] for row in range(3)]
    assert middles == [[255, 221], [0, 0], [221, 221]]


def test_what_stands_under_a_picture() -> None:
    full = record("x", probability=0.5, high_frequency_ratio=1.5, saturated=0.25, **{"p(b)": 0.125})
    assert lines(full) == ["2  p 0.50", "p(b) 0.12", "high freq. 1.50x  saturated 25.0%"]
    grown = record("x", **{"p(b)": 0.125, "p(b, own size)": 0.875, "p(c)": 0.5, "p(c, own size)": 0.5})
    assert lines(grown)[1:4] == ["p(b) 0.12", "     at its own size 0.88", "p(c) 0.50"]
    assert lines(record("x", status="dead")) == ["dead"]


@pytest.mark.parametrize("rows", [1, 300])
def test_a_sheet_can_be_opened_whatever_its_length(tmp_path: Path, rows: int) -> None:
    records = [record(f"logits:{number}", status="pending") for number in range(rows)]
    side_by_side(ComparisonFolder(tmp_path), {"one": records}, {"one": {}}, {"one": Path("one")})
    with Image.open(ComparisonFolder(tmp_path).sheet) as sheet:
        assert sheet.height < 2**15


def test_a_hostile_name_is_text_on_the_page(tmp_path: Path) -> None:
    target, column = "logits:<script>alert(1)</script>", "<b>bold</b>"
    side_by_side(ComparisonFolder(tmp_path), {column: [record(target)]}, {column: {}}, {column: Path("run")})
    page = Links()
    page.feed(ComparisonFolder(tmp_path).page.read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert target in page.text
    assert column in page.text
