import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageSequence

from lightning_fv.report import contact_sheet, film
from lightning_fv.report.sheet import fit_text, score_lines, wrap_text
from lightning_fv.runs.evidence import Evidence, Example, Verdict
from lightning_fv.runs.record import Record, Status

# What stands around the pictures of a sheet, in pixels.
GAP, LABEL = 8, 34
DONE = Record("0", "logits:pizza", "demo", "done", 12.5, "0.png", [37, 29], 8, 0, 0.1, {"probability": 0.5})


def save(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int] = (29, 37)) -> Path:
    path = folder / name
    Image.new("RGB", size, colour).save(path, lossless=True)
    return path


def made_sheet(folder: Path, records: list[Record], side: int = 160) -> np.ndarray:
    path = folder / "sheet.png"
    contact_sheet(folder, records, path, side)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def cell(sheet: np.ndarray, row: int, column: int, side: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """The picture's place and the label below."""
    top, left = GAP + row * (side + LABEL + GAP), GAP + column * (side + GAP)
    return sheet[top : top + side, left : left + side], sheet[top + side : top + side + LABEL, left : left + side]


def is_red(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 150) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)


def is_black(pixels: np.ndarray) -> np.ndarray:
    return pixels.max(-1) < 60


def test_sheet_of_all_statuses(tmp_path: Path) -> None:
    save(tmp_path, "0.png", (20, 120, 220))
    save(tmp_path, "1.png", (220, 120, 20), (40, 20))
    kinds: list[tuple[Status, str | None]] = [
        ("done", "0.png"),
        ("partial", "1.png"),
        ("dead", None),
        ("diverged", None),
        ("done", "deleted.png"),
    ]
    records = [dataclasses.replace(DONE, id=str(n), status=s, image=i) for n, (s, i) in enumerate(kinds)]
    sheet = made_sheet(tmp_path, records)
    # Five cells stand in 3 columns and 2 rows.
    assert sheet.shape == (2 * (160 + LABEL + GAP) + GAP, 3 * (160 + GAP) + GAP, 3)
    for number, (status, _) in enumerate(kinds):
        picture, label = cell(sheet, *divmod(number, 3))
        expected = {0: (20, 120, 220), 1: (220, 120, 20)}.get(number, (0xDD, 0xDD, 0xDD))
        np.testing.assert_array_equal(picture[80, 80], expected)
        np.testing.assert_array_equal(picture[0, 0], (0xDD, 0xDD, 0xDD) if number else picture[1, 1])
        assert is_black(label).any() == (status == "done")
        assert is_red(label).any() == (status != "done")
    assert (sheet[GAP + 160 + LABEL + GAP :, 2 * (160 + GAP) + GAP :] == 255).all()  # the sixth place is empty


@pytest.mark.parametrize(("size", "shown"), [((29, 37), (125, 160)), ((37, 29), (160, 125)), ((400, 100), (160, 40))])
def test_pictures_keep_their_shape_and_stand_in_the_middle(
    tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    save(tmp_path, "0.png", (20, 120, 220), size)
    picture, _ = cell(made_sheet(tmp_path, [DONE]), 0, 0)
    filled = (picture == (20, 120, 220)).all(-1)
    rows, columns = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    assert (len(columns), len(rows)) == shown
    assert filled.sum() == shown[0] * shown[1]
    assert abs(rows[0] - (159 - rows[-1])) <= 1
    assert abs(columns[0] - (159 - columns[-1])) <= 1


@pytest.mark.parametrize("side", [16, 64])
def test_side_can_be_chosen(tmp_path: Path, side: int) -> None:
    assert made_sheet(tmp_path, [DONE], side).shape == (side + LABEL + 2 * GAP, side + 2 * GAP, 3)


@pytest.mark.parametrize(
    "target", ["<script>alert('x')</script>", "crème brûlée ☃ 比薩", "two\nlines", "", "long " * 60, "\x00\x07"]
)
def test_any_name_stays_in_its_cell(tmp_path: Path, target: str) -> None:
    sheet = made_sheet(tmp_path, [dataclasses.replace(DONE, target=target, image=None), DONE, DONE])
    _, label = cell(sheet, 0, 0)
    assert is_black(label).any()
    gap = sheet[:, GAP + 160 : GAP + 160 + GAP]
    assert (gap == 255).mean() > 0.999  # a glyph may overhang by a pixel


def test_a_score_that_is_missing(tmp_path: Path) -> None:
    sheet = made_sheet(tmp_path, [dataclasses.replace(DONE, score=None, scores={"probability": "none"})])
    assert (cell(sheet, 0, 0)[1][21:] == 255).all()  # below the tails of the first line's letters


def test_a_score_has_the_second_line(tmp_path: Path) -> None:
    assert is_black(cell(made_sheet(tmp_path, [DONE]), 0, 0)[1][21:]).any()


def several(*counts: int) -> list[Record]:
    """Records of units with so many pictures; the second of each is its best."""
    return [
        dataclasses.replace(DONE, unit=f"layer3:{unit}", facet=facet, scores={"rank": 3 - facet}, image=None)
        if count > 1
        else dataclasses.replace(DONE, target=f"layer3:{unit}", image=None)
        for unit, count in enumerate(counts)
        for facet in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("counts", "rows"),
    [
        ((4,), [4]),
        ((8,), [8]),
        ((4,) * 8, [8, 8, 8, 8]),
        ((4,) * 24, [12] * 8),
        ((1,) * 5, [3, 2]),
        ((1, 4, 1, 4), [1, 4, 1, 4]),
        ((1, 3, 1, 2, 1), [1, 3, 3, 1]),
        ((64,), [10] * 6 + [4]),
    ],
)
def test_several_pictures_of_a_unit_stand_in_one_row(tmp_path: Path, counts: tuple[int, ...], rows: list[int]) -> None:
    records = several(*counts)
    sheet = made_sheet(tmp_path, records, side=16)
    grey = (sheet == 0xDD).all(-1)
    pitch = 16 + LABEL + GAP
    found = [int(grey[GAP + row * pitch + 8, GAP + 8 :: 16 + GAP].sum()) for row in range(len(sheet) // pitch)]
    assert found == rows


def test_the_best_of_a_unit_is_marked(tmp_path: Path) -> None:
    sheet = made_sheet(tmp_path, several(2))
    first, second = (is_black(cell(sheet, 0, column)[1][21:]).sum() for column in (0, 1))
    assert second > first > 0


LINES = 49
"""Pixels of a label of three lines."""


def trusted(verdict: Verdict, brief: str = "", **faithful: float) -> Evidence:
    examples = [Example("b.jpg", 1.0, "photo.png")]
    return Evidence("0", "logits:pizza", {**faithful}, verdict=verdict, brief=brief, examples=examples)


def sheet_with(folder: Path, evidence: Evidence, side: int = 160) -> np.ndarray:
    """A blue picture whose best photo is green."""
    save(folder, "0.png", (20, 120, 220), (32, 32))
    save(folder, "photo.png", (20, 220, 120), (64, 64))
    contact_sheet(folder, [DONE], folder / "sheet.png", side, {"0": evidence})
    with Image.open(folder / "sheet.png") as image:
        return np.asarray(image.convert("RGB")).astype(int)


def third_line(sheet: np.ndarray) -> np.ndarray:
    return sheet[GAP + 160 + 34 : GAP + 160 + LINES, GAP : GAP + 160]


def test_the_best_photo_stands_in_the_corner(tmp_path: Path) -> None:
    sheet = sheet_with(tmp_path, trusted("trust", photo_multiple=3.1))
    assert sheet.shape == (160 + LINES + 2 * GAP, 160 + 2 * GAP, 3)
    picture, _ = cell(sheet, 0, 0)
    np.testing.assert_array_equal(picture[-53:, -53:], np.broadcast_to((20, 220, 120), (53, 53, 3)))
    assert (picture[-55:-53, -55:] == 255).all()
    assert (picture == (20, 120, 220)).all(-1).sum() == 160**2 - 55**2


def test_a_small_cell_has_no_room_for_a_photo(tmp_path: Path) -> None:
    picture, _ = cell(sheet_with(tmp_path, trusted("trust"), side=32), 0, 0, 32)
    assert (picture == (20, 120, 220)).all()


def test_a_photo_that_is_missing_leaves_its_place(tmp_path: Path) -> None:
    evidence = trusted("trust")
    evidence.examples = [Example("b.jpg", 1.0, "gone.png")]
    picture, _ = cell(sheet_with(tmp_path, evidence), 0, 0)
    assert (picture[-50:, -50:] == 255).all()


@pytest.mark.parametrize(
    ("verdict", "red"), [("trust", False), ("doubt", False), ("unknown", False), ("distrust", True)]
)
def test_distrust_is_red(tmp_path: Path, verdict: Verdict, red: bool) -> None:
    sheet = sheet_with(tmp_path, trusted(verdict, photo_multiple=3.1))
    picture, _ = cell(sheet, 0, 0)
    assert is_red(picture[:4, :4]).all() == red
    assert is_red(third_line(sheet)).any() == red
    assert is_black(third_line(sheet)).any() != red


@pytest.mark.parametrize(
    ("evidence", "scores", "told"),
    [
        (trusted("trust", "right in 97 %", photo_multiple=3.14), {"probability": 0.97}, ["12.5  p=0.97  x3.1", "trusted: right in 97 %"]),
        (trusted("trust", photo_multiple=3.1), {"photo_multiple": 2.0, "rank": 1}, ["12.5  x3.1  highest", "trusted"]),
        (trusted("trust", photo_multiple=123.0), {}, ["12.5  x120", "trusted"]),
        (trusted("trust", photo_percentile=97.25), {}, ["12.5  above 97.2 %", "trusted"]),
        (trusted("doubt", "x0.4", photo_multiple=0.4), {"probability": 0.97}, ["12.5  p=0.97  x0.4", "doubtful: x0.4"]),
        (trusted("distrust", "right in 70 %", photo_multiple=3.5), {}, ["12.5  x3.5", "not trusted: right in 70 %"]),
        (trusted("unknown"), {"photo_multiple": 2.0}, ["12.5", "no verdict"]),
        (None, {"probability": 0.97, "photo_multiple": 2.13, "rank": 1}, ["12.5  p=0.97  x2.1  highest"]),
        (None, {"photo_multiple": "not finite"}, ["12.5"]),
        (None, {"photo_multiple": -0.81}, ["12.5"]),
    ],
)  # fmt: skip
def test_what_is_told_of_photos(evidence: Evidence | None, scores: dict[str, float | str], told: list[str]) -> None:
    record = dataclasses.replace(DONE, scores=scores)
    assert score_lines(record, evidence) == told


def test_a_sheet_without_records(tmp_path: Path) -> None:
    assert made_sheet(tmp_path, []).size > 0


def test_a_large_sheet_stays_below_8000_pixels(tmp_path: Path) -> None:
    records = [dataclasses.replace(DONE, target="a", image=None, scores={})] * 500
    contact_sheet(tmp_path, records, tmp_path / "sheet.png", side=400)
    with Image.open(tmp_path / "sheet.png") as image:
        assert 4000 < max(image.size) <= 8000


COLOURS = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10)]


def played(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as image:
        assert image.format == "WEBP"
        frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(image)]
        durations = []
        for number in range(len(frames)):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
    return frames, durations


def test_film_has_a_frame_per_stage(tmp_path: Path) -> None:
    frames = [save(tmp_path, f"{number}.png", colour) for number, colour in enumerate(COLOURS)]
    film([frames], tmp_path / "film.webp", milliseconds=100)
    shown, durations = played(tmp_path / "film.webp")
    assert len(shown) == 4
    assert durations == [100, 100, 100, 800]
    for frame, colour in zip(shown, COLOURS, strict=True):
        assert frame.shape == (37 * 13, 29 * 13, 3)  # 13 fits 37 px into 512
        np.testing.assert_allclose(frame.mean((0, 1)), colour, atol=12)


def test_a_damaged_frame_is_left_out_of_the_film(tmp_path: Path) -> None:
    frames = [save(tmp_path, f"{number}.png", colour) for number, colour in enumerate(COLOURS)]
    frames[1].write_bytes(frames[1].read_bytes()[:40])
    with pytest.warns(UserWarning, match=r"1\.png.*; the film is made without it"):
        film([frames, [frames[1]]], tmp_path / "film.webp")
    shown, _ = played(tmp_path / "film.webp")
    assert len(shown) == 3
    np.testing.assert_allclose(shown[1].mean((0, 1)), COLOURS[2], atol=12)


def test_film_of_a_growing_picture_has_one_size(tmp_path: Path) -> None:
    frames = [save(tmp_path, f"{n}.png", COLOURS[n], (20 + 10 * n, 30 + 10 * n)) for n in range(3)]
    film([frames], tmp_path / "film.webp")
    shown, _ = played(tmp_path / "film.webp")
    assert {frame.shape for frame in shown} == {(500, 400, 3)}
    np.testing.assert_allclose(shown[0].mean((0, 1)), COLOURS[0], atol=12)


def test_jobs_stand_below_each_other_and_wait_for_the_longest(tmp_path: Path) -> None:
    long = [save(tmp_path, f"a{n}.png", COLOURS[n], (64, 64)) for n in range(3)]
    short = [save(tmp_path, "b.png", COLOURS[3], (64, 32))]
    film([long, [], short], tmp_path / "film.webp")
    shown, _ = played(tmp_path / "film.webp")
    assert len(shown) == 3
    for frame, colour in zip(shown, COLOURS, strict=False):
        assert frame.shape == (96 * 5, 64 * 5, 3)
        np.testing.assert_allclose(frame[20:300].mean((0, 1)), colour, atol=12)
        np.testing.assert_allclose(frame[340:].mean((0, 1)), COLOURS[3], atol=12)


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    film([[save(tmp_path, "0.png", COLOURS[0])]], tmp_path / "film.webp")
    assert len(played(tmp_path / "film.webp")[0]) == 1


@pytest.mark.parametrize("frames", [[], [[]], [[], []]])
def test_nothing_to_show_is_no_film(tmp_path: Path, frames: list[list[Path]]) -> None:
    film(frames, tmp_path / "film.webp")
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_loses_its_middle() -> None:
    draw, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default()
    text = f"inversion:{'folder/' * 20}photo.png@layer4"
    shown = fit_text(draw, text, font, 150)
    assert shown.startswith("inversion:")
    assert shown.endswith(".png@layer4")
    assert "…" in shown
    assert draw.textlength(shown, font=font) <= 150 < draw.textlength(text, font=font)
    assert fit_text(draw, "logits:lion", font, 150) == "logits:lion"


def test_a_name_has_two_lines_before_it_loses_anything() -> None:
    draw, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default(13)
    for text, lines in (
        ("logits:lion", ["logits:lion"]),
        ("sum(layer4:12 - 0.3*layer4:40)", ["sum(layer4:12 -", "0.3*layer4:40)"]),
        ("inversion:photo.jpg@layer1.0.conv2", ["inversion:photo.jpg@", "layer1.0.conv2"]),
        ("layer4." * 6, ["layer4.layer4.layer4.layer", "4.layer4.layer4."]),
    ):
        assert wrap_text(draw, text, font, 150) == lines
    first, second = wrap_text(draw, "word " * 60, font, 150)
    assert "…" not in first
    assert "…" in second
    assert len(wrap_text(draw, "logits:king penguin", font, 64)) == 1  # too narrow for words


def test_what_tells_two_objectives_apart_stands_below_them(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(DONE, target=f"0.5 * Logit(1{n}) + 0.5 * Channel('layer4', 12)", image=None) for n in (1, 2)
    ]
    sheet = made_sheet(tmp_path, records)
    assert sheet.shape == (160 + LABEL + 15 + 2 * GAP, 2 * (160 + GAP) + GAP, 3)
    first, second = (cell(sheet, 0, column)[1][:17] for column in (0, 1))
    assert (first != second).any()
    records = [dataclasses.replace(DONE, target=f"Function(name='{name}', layers=('layer3',))") for name in ("a", "b")]
    first, second = (cell(made_sheet(tmp_path, records), 0, column)[1][:17] for column in (0, 1))
    assert (first != second).any()
