"""The page's text and data; what a browser makes of it is in tests/browser."""

import configparser
import dataclasses
import inspect
import json
import os
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
import yaml
from PIL import Image

from lightning_fv.callbacks import ArtifactWriter
from lightning_fv.errors import FeatureVisualizationError, RunFolderError, UsageError
from lightning_fv.report import contact_sheet, write_gallery
from lightning_fv.report.gallery import CHUNK as CHUNK_READ
from lightning_fv.report.gallery import FRAME_PICTURES
from lightning_fv.runs.evidence import Evidence, Example, write_evidence
from lightning_fv.runs.picture import CHUNK, write_picture
from lightning_fv.runs.record import Record, write_manifest
from tests.processes import ROOT, run_python

DONE = Record(
    id="logits-0011-pizza",
    target="logits:pizza",
    network="demo",
    status="done",
    score=12.345678901234567,
    image="images/logits-0011-pizza.png",
    size=[37, 29],
    steps=128,
    seed=2**63 - 1,
    seconds=0.1,
    scores={"probability": 0.5, "top1": "monarch"},
)
NAMES = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028 crème brûlée ☃ \x00 \" ' & \\",
]


class Page(HTMLParser):
    """What a browser takes the page for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open = ""
        self.texts: dict[str, str] = {}
        self.feed(path.read_text(encoding="utf-8"))
        self.data: dict[str, Any] = json.loads(self.texts["script#data"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = "#".join([tag, *(value for key, value in attrs if key == "id" and value)])

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        self.texts[self.open] = self.texts.get(self.open, "") + data

    def rows(self) -> list[dict[str, Any]]:
        names = [
            "run",
            "kind",
            "job",
            "place",
            "id",
            "target",
            "facet",
            "seconds",
            "image",
            "score",
            *self.data["scores"],
        ]
        return [dict(zip(names, row, strict=True)) for row in self.data["rows"]]

    def images(self) -> list[str | None]:
        """URLs from the page's folder."""
        urls = [f"images/{row['id']}.png" if row["image"] == 1 else row["image"] for row in self.rows()]
        runs = self.data["runs"]
        return [url and runs[row["run"]]["url"] + url for url, row in zip(urls, self.rows(), strict=True)]


def make_run(folder: Path, records: list[Record], jobs: dict[str, list[Record]] | None = None) -> Path:
    """A run folder with real files."""
    folder.mkdir(parents=True)
    for record in records:
        if record.image is not None:
            (folder / record.image).parent.mkdir(exist_ok=True)
            write_picture(folder / record.image, torch.full((3, 2, 2), 0.5), record, {"optimizer": {"betas": [0.9, 1]}})
    for job, members in (jobs or {}).items():
        frames = folder / "jobs" / job / "frames"
        frames.mkdir(parents=True)
        for step in (0, 8, 128):
            Image.new("RGB", (4, 4)).save(frames / f"{step:08d}.jpg")
        write_manifest(frames.parent / "done.jsonl", members)
    write_manifest(folder / "manifest.jsonl", records)
    return folder


def numbered(count: int) -> list[Record]:
    return [
        dataclasses.replace(DONE, id=f"layer3-{n:04d}", target=f"layer3:{n}", image=f"images/layer3-{n:04d}.png")
        for n in range(count)
    ]


def test_what_a_page_knows(tmp_path: Path) -> None:
    dead = dataclasses.replace(DONE, id="a", target="layer2:3", status="dead", score=0.0, image=None, scores={})
    diverged = dataclasses.replace(dead, id="b", status="diverged", score=None, scores={"saturated": 0.25})
    partial = dataclasses.replace(DONE, id="c", status="partial", image="partial/c.png", steps=7)
    run = make_run(tmp_path / "version_0", [DONE, dead, diverged, partial])
    path = write_gallery([run])
    assert path == run / "gallery.html"
    page = Page(path)
    assert page.texts["title"] == page.texts["h1"] == "version_0"
    assert page.data["scores"] == ["probability", "top1", "saturated"]
    kinds = page.data["kinds"]
    assert [kinds[row["kind"]] for row in page.rows()] == [
        ["demo", "done", 37, 29, 128, str(2**63 - 1)],
        ["demo", "dead", 37, 29, 128, str(2**63 - 1)],
        ["demo", "diverged", 37, 29, 128, str(2**63 - 1)],
        ["demo", "partial", 37, 29, 7, str(2**63 - 1)],
    ]
    assert [row["score"] for row in page.rows()] == [12.3457, 0.0, None, 12.3457]
    assert [row["probability"] for row in page.rows()] == [0.5, None, None, 0.5]
    assert [row["saturated"] for row in page.rows()] == [None, None, 0.25, None]
    assert page.images() == ["./images/logits-0011-pizza.png", None, None, "./partial/c.png"]


def test_several_pictures_of_a_unit(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(DONE, id=f"p-{n}", target=f"logits:pizza #{n}", unit="logits:pizza", facet=n, image=None)
        for n in (1, 2)
    ]
    page = Page(write_gallery([make_run(tmp_path / "run", [*records, DONE])]))
    assert [(row["target"], row["facet"]) for row in page.rows()] == [
        ("logits:pizza", 1),
        ("logits:pizza", 2),
        ("logits:pizza", 0),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(tmp_path: Path, name: str) -> None:
    record = dataclasses.replace(DONE, target=name, network=name, scores={name: 0.5, "top1": name})
    plain, named = (
        Page(write_gallery([make_run(tmp_path / "a", [DONE])])),
        Page(write_gallery([make_run(tmp_path / "b", [record])])),
    )
    assert named.elements == plain.elements
    (row,) = named.rows()
    assert (row["target"], row["top1"], row[name]) == (name, name, 0.5)
    assert named.data["kinds"][row["kind"]][0] == name


@pytest.mark.parametrize("name", ["<b>bold<", "a b#c%20d?e", "quotes \" and '", "ü&amp;", "javascript:alert(1)"])
def test_links_lead_to_the_files(tmp_path: Path, name: str) -> None:
    plain = dataclasses.replace(DONE, image=f"images/{DONE.id}.png")
    odd = dataclasses.replace(DONE, id="odd # %41", image="images/odd # %41 ' \".png")
    run = make_run(tmp_path / "runs" / name, [plain, odd], {"0 #1": [plain]})
    for path in (write_gallery([run]), write_gallery([run], tmp_path / "elsewhere.html")):
        page = Page(path)
        for url in page.images():
            assert url is not None
            assert not set(url) & set(" #?\"'<>:")
            assert (path.parent / unquote(url)).is_file()
        ((number, job, count, steps),) = page.data["jobs"]
        assert (number, count) == (0, 1)
        for step in steps:
            assert (path.parent / unquote(f"{page.data['runs'][0]['url']}{job}/frames/{step:08d}.jpg")).is_file()
        assert page.texts["h1"] == name


def test_bytes_in_a_path_that_are_no_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "caf\udce9", [DONE])
    page = Page(write_gallery([run]))
    assert page.texts["h1"] == "caf?"
    assert Page(write_gallery([run], tmp_path / "page.html")).data["runs"][0]["url"] == "caf%E9/"


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    page = Page(write_gallery([make_run(tmp_path / "run", [DONE])]))
    linked = [value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href")]
    assert linked == ["data:,"]
    namespace = "http://www.w3.org/2000/svg"  # a name; nothing is fetched from there
    assert "http" not in "".join(page.texts.values()).replace(namespace, "")
    assert "url(" not in page.texts["style"]
    assert "@import" not in page.texts["style"]


def test_two_thousand_pictures_in_half_a_megabyte(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(
            DONE,
            id=f"logits-{n:04d}-American-Staffordshire-terrier",
            target=f"logits:American Staffordshire terrier {n}",
            image=f"images/logits-{n:04d}-American-Staffordshire-terrier.png",
            score=n / 7,
            seconds=round(n / 11, 3),
            scores={"saturated": 0.1234, "high_frequency": 0.1234, "probability": 0.1234, "top1": "computer keyboard"},
        )
        for n in range(2000)
    ]
    run = tmp_path / "run"
    run.mkdir()
    write_manifest(run / "manifest.jsonl", records)
    for start in range(0, 2000, 16):
        frames = run / "jobs" / f"{start:012x}" / "frames"
        frames.mkdir(parents=True)
        write_manifest(frames.parent / "done.jsonl", records[start : start + 16])
        for step in range(0, 4097, 256):
            (frames / f"{step:08d}.jpg").touch()
    path = write_gallery([run])
    page = Page(path)
    assert (len(page.rows()), len(page.data["jobs"]), len(page.data["kinds"])) == (2000, 125, 1)
    assert path.stat().st_size < 500_000


def test_a_thousand_pictures_with_evidence_stay_light(tmp_path: Path) -> None:
    """Of each six best and three least photos, all of them others."""
    numbers = {f"measure_{n}": 0.123456789 for n in range(8)}
    path = {f"layer{n}": 0.123456789 for n in range(6)}
    records = numbered(1000)
    run = make_run(tmp_path / "run", [])
    write_manifest(run / "manifest.jsonl", records)
    reasons = [
        "fires 1.6 times the best of 5,000 photos",
        "path like that of its photos from stem on",
        "both judges agree (p 1.00, 0.99)",
    ]
    evidence = []
    for n, record in enumerate(records):
        photos = [
            Example(
                f"val.tar/val/n07873807/val_{9 * n + k}.JPEG",
                1.23456789,
                f"photos/{9 * n + k:032x}.jpg",
                (0.1234, 0.2345, 0.8765, 1.0),
            )
            for k in range(9)
        ]
        evidence.append(
            Evidence(
                record.id,
                record.target,
                {**numbers},
                {**numbers},
                {**path},
                photos[:6],
                photos[6:],
                "trust",
                reasons,
                "0" * 16,
            )
        )
    write_evidence(run / "evidence.jsonl", evidence)
    page = write_gallery([run])
    assert len(Page(page).data["evidence"]["rows"]) == 1000
    assert page.stat().st_size < 1_600_000


def test_evidence_is_shown_beside_its_picture(tmp_path: Path) -> None:
    """Also of several runs, whose thumbnails are in their own folders."""
    first = make_run(tmp_path / "a", numbered(2))
    second, without = make_run(tmp_path / "b", numbered(1)), make_run(tmp_path / "c", numbered(1))
    example = Example("pie # 1.jpg", 2.5, "photos/a # %41.jpg")
    for run, verdict in ((first, "doubt"), (second, "trust")):
        (run / "photos").mkdir()
        Image.new("RGB", (8, 8)).save(run / example.file)
        write_evidence(
            run / "evidence.jsonl", [Evidence("layer3-0000", "layer3:0", examples=[example], verdict=verdict)]
        )  # type: ignore[arg-type]
    page = Page(path := write_gallery([first, second, without]))
    found = page.data["evidence"]
    assert [row and found["verdicts"][row[0]][0] for row in found["rows"]] == ["doubt", None, "trust", None]
    for row, told in zip(page.rows(), found["rows"], strict=True):
        for photo in told[6] if told else []:
            url, name = found["photos"][photo[0]]
            assert (path.parent / unquote(page.data["runs"][row["run"]]["url"] + url)).is_file()
            assert name == example.photo
    assert "evidence" not in Page(write_gallery([without])).data


def test_damaged_evidence_is_no_obstacle(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [DONE])
    (run / "evidence.jsonl").write_text("{")
    with pytest.warns(UserWarning, match="evidence.jsonl is damaged") as told:
        page = Page(write_gallery([run]))
    assert len(told) == 1
    assert len(page.rows()) == 1
    assert "evidence" not in page.data


def test_an_empty_run(tmp_path: Path) -> None:
    assert Page(write_gallery([make_run(tmp_path / "run", [])])).rows() == []


def test_films_belong_to_jobs(tmp_path: Path) -> None:
    records = numbered(FRAME_PICTURES + 8)
    jobs = {"aaaa": records[:-4], "bbbb": records[-4:-1]}
    run = make_run(tmp_path / "run", records, jobs)
    page = Page(write_gallery([run]))
    assert page.data["jobs"] == [[0, "jobs/aaaa", FRAME_PICTURES, [0, 8, 128]], [0, "jobs/bbbb", 3, [0, 8, 128]]]
    places = [(row["job"], row["place"]) for row in page.rows()]
    assert places == [(0, n) for n in range(FRAME_PICTURES)] + [(-1, 0)] * 4 + [(1, 0), (1, 1), (1, 2), (-1, 0)]


def test_films_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    records = numbered(3)
    run = make_run(tmp_path / "run", records, {"a": records[:1], "b": records[1:2], "c": records[2:]})
    (run / "jobs" / "a" / "done.jsonl").write_text('{"id": ')
    for frame in (run / "jobs" / "b" / "frames").iterdir():
        frame.unlink()
    (run / "jobs" / "c" / "frames" / "notes.jpg").touch()
    page = Page(write_gallery([run]))
    assert page.data["jobs"] == [[0, "jobs/c", 1, [0, 8, 128]]]
    assert [row["job"] for row in page.rows()] == [-1, -1, 0]


def test_several_runs(tmp_path: Path) -> None:
    first = make_run(tmp_path / "logs" / "version_0", [DONE])
    second = make_run(tmp_path / "logs" / "more" / "a b", [DONE, *numbered(2)], {"j": numbered(2)})
    path = write_gallery([second, first, second])
    assert path == tmp_path / "logs" / "gallery.html"
    page = Page(path)
    assert page.texts["h1"] == "logs: 2 runs"
    assert [(run["name"], run["url"]) for run in page.data["runs"]] == [
        ("more/a b", "more/a%20b/"),
        ("version_0", "version_0/"),
    ]
    assert [row["run"] for row in page.rows()] == [0, 0, 0, 1]
    assert page.data["jobs"][0][0] == 0
    for url in page.images():
        assert url is not None
        assert (path.parent / unquote(url)).is_file()


def test_a_run_inside_of_another(tmp_path: Path) -> None:
    outer = make_run(tmp_path / "run", [DONE])
    inner = make_run(outer / "run", [DONE])
    page = Page(write_gallery([outer, inner]))
    assert [run["name"] for run in page.data["runs"]] == [".", "run"]


def test_the_recipe_is_in_the_page_once(tmp_path: Path) -> None:
    records = numbered(3)
    run = make_run(tmp_path / "run", records)
    (run / str(records[0].image)).unlink()
    told = Page(write_gallery([run])).data["runs"][0]["recipe"]
    assert yaml.safe_load(told)["recipe"] == {"optimizer": {"betas": [0.9, 1]}}
    assert "betas: [0.9, 1]" in told
    assert "lightning_fv" in yaml.safe_load(told)["versions"]


@pytest.mark.parametrize("damage", ["no chunk", "not JSON", "other JSON", "not a PNG", "no picture"])
def test_without_a_recipe(tmp_path: Path, damage: str) -> None:
    run = make_run(tmp_path / "run", [DONE])
    image = run / str(DONE.image)
    if damage == "no chunk":
        Image.new("RGB", (2, 2)).save(image)
    elif damage in ("not JSON", "other JSON"):
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text(CHUNK, "{" if damage == "not JSON" else "[1]")
        Image.new("RGB", (2, 2)).save(image, pnginfo=info)
    elif damage == "not a PNG":
        image.write_bytes(image.read_bytes()[:40])
    else:
        image.unlink()
    assert Page(write_gallery([run])).data["runs"][0]["recipe"] is None


def test_what_is_written_above_is_read_here() -> None:
    assert CHUNK_READ == CHUNK
    assert inspect.signature(ArtifactWriter).parameters["frame_pictures"].default == FRAME_PICTURES


def test_mistakes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [DONE])
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    told: list[tuple[list[Path], Path | None, type[FeatureVisualizationError], str]] = [
        ([], None, UsageError, "a gallery needs the folder of at least one run"),
        ([tmp_path / "none"], None, RunFolderError, "none: no such folder; give the folder of a run"),
        ([run, tmp_path / "empty"], None, RunFolderError, "empty holds no manifest.jsonl; .* --resume --out .*empty"),
        ([run], tmp_path / "none" / "page.html", RunFolderError, "cannot write .*page.html: No such file"),
        ([Path("x" * 5000)], None, RunFolderError, "^the name x{80}... is too long; choose a shorter one"),
        ([run], tmp_path / ("x" * 5000), RunFolderError, "cannot write .*x: File name too long; choose another file"),
        (
            [run],
            tmp_path / "loop" / "page.html",
            RunFolderError,
            "cannot write .*: Too many levels of symbolic links; choose",
        ),
        ([run], run, RunFolderError, "cannot write .*run: Is a directory; choose another file"),
    ]
    for folders, page, kind, message in told:
        with pytest.raises(kind, match=message):
            write_gallery(folders, page)
    assert not list(tmp_path.rglob("*.html"))
    assert not list(tmp_path.rglob("*.partial"))


LINE = DONE.to_json()


@pytest.mark.parametrize(
    "content",
    [
        LINE[:40],
        "[1, 2]",
        "17",
        '{"id": "a"}',
        LINE.replace('"status"', '"state"'),
        LINE.replace("[37, 29]", "37"),
        LINE.replace("[37, 29]", "[37]"),
        LINE.replace('"logits:pizza"', "5"),
        LINE.replace('"logits:pizza"', '"\\ud800"'),
        LINE.replace("12.345678901234567", '"high"'),
        LINE.replace("0.5", "[]"),
        LINE.replace("12.345678901234567", "NaN"),
        LINE.replace("0.5", "Infinity"),
        LINE.replace("12.345678901234567", f"1{400 * '0'}"),
        LINE.replace("12.345678901234567", f"1{5000 * '0'}"),
        LINE.replace("0.5", f"{100_000 * '['}{100_000 * ']'}"),
        '{"format": "another"}',
    ],
)
def test_a_damaged_manifest(tmp_path: Path, content: str) -> None:
    run = make_run(tmp_path / "run", [DONE])
    (run / "manifest.jsonl").write_text(f"{LINE}\n{content}\n")
    with pytest.raises(
        RunFolderError, match=r"manifest.jsonl is damaged \(.*\); write it again with lightning-fv --resume"
    ):
        write_gallery([run])


def test_a_manifest_that_is_no_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [DONE])
    (run / "manifest.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(RunFolderError, match="damaged"):
        write_gallery([run])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_manifest_that_is_no_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    run = make_run(tmp_path / "run", [DONE])
    (run / "manifest.jsonl").unlink()
    make(run / "manifest.jsonl")
    with pytest.raises(RunFolderError, match=r"manifest.jsonl is damaged \(it is a .*, not a file\); write it again"):
        write_gallery([run])


@pytest.mark.timeout(60)
def test_pictures_that_cannot_be_opened(tmp_path: Path) -> None:
    """Their names may be too long for any disk, and there may be a pipe in their place."""
    records = [dataclasses.replace(DONE, image=image) for image in ("i" * 5000, "/".join(["i" * 200] * 30), "pipe")]
    run = make_run(tmp_path / "run", [])
    os.mkfifo(run / "pipe")
    write_manifest(run / "manifest.jsonl", records)
    (data,) = Page(write_gallery([run])).data["runs"]
    assert data["recipe"] is None
    contact_sheet(run, records, run / "sheet.png")


def test_pictures_that_were_changed_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    records = numbered(3)
    for record in records:
        picture = run / str(record.image)
        picture.parent.mkdir(exist_ok=True)
        record.sign(write_picture(picture, torch.full((3, 2, 2), 0.5), record, {}))
    write_manifest(run / "manifest.jsonl", records)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_gallery([run])
    (run / str(records[1].image)).write_bytes(b"other")
    with pytest.warns(
        UserWarning, match=f"1 of 3 pictures are missing or were changed, such as {records[1].image}; render them"
    ):
        write_gallery([run])


def test_an_old_page_stays_if_there_is_a_mistake(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [DONE])
    page = write_gallery([run])
    before = page.read_bytes()
    (run / "manifest.jsonl").write_text("{")
    with pytest.raises(RunFolderError):
        write_gallery([run])
    assert page.read_bytes() == before


def test_templates_are_package_data() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["lightning_fv"].split()
    packed = {file for pattern in patterns for file in (ROOT / "lightning_fv").glob(pattern)}
    templates = set((ROOT / "lightning_fv" / "report" / "templates").iterdir())
    assert {template.name for template in templates} >= {"gallery.html", "gallery.css", "gallery.js"}
    assert templates <= packed


def test_reports_are_made_without_torch() -> None:
    code = "import sys, lightning_fv.report.gallery; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = run_python("-c", code)
    assert done.returncode == 0, done.error_output
    loaded = done.output.split()
    assert "lightning_fv" in loaded
    assert not {"torch", "torchvision", "lightning", "numpy"} & set(loaded)
