"""The gallery in a headless Chromium, from disk, with real keys."""

import dataclasses
import io
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.utils import make_grid

from lightning_fv import render
from lightning_fv.functional import to_uint8
from lightning_fv.report import write_gallery
from lightning_fv.runs.picture import encode_jpeg, write_picture
from lightning_fv.runs.record import Record, write_manifest
from tests.browser.devtools import Browser
from tests.report.test_evidence import PIZZA, add_evidence, evidence_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

DONE = Record("0", "logits:pizza", "demo", "done", 1.0, None, [64, 64], 128, 0, 0.25, {"probability": 0.5})
SCRIPT = "<script>alert(1)</script>"
STEPS = (0, 16, 128)

# Milliseconds from an input to the end of the frame that shows what came of it.
TYPE = """(async () => {
    const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const times = [];
    for (const text of ["l", "la", "layer", "layer2", "layer2:", "layer2:1", "", "7", ""]) {
        await frame();
        const start = performance.now();
        byId("filter").value = text;
        byId("filter").dispatchEvent(new Event("input"));
        await frame();
        times.push(performance.now() - start);
    }
    return times;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(autouse=True)
def no_errors(browser: Browser) -> Iterator[None]:
    browser.screen(1280, 900, prefers_reduced_motion="reduce")  # a picture of the screen is of what stands still
    yield
    assert browser.errors == []


def colour(number: int) -> torch.Tensor:
    return torch.tensor([0.2 + 0.6 * (number >> bit & 1) for bit in range(3)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine classes and six channels of a layer, all of one colour each; two jobs, one without frames; odd names."""
    folder = tmp_path_factory.mktemp("gallery") / "a run #1 100%"
    (folder / "images").mkdir(parents=True)
    records = [
        dataclasses.replace(
            DONE, id=f"logits-{n:04d}-c", target=f"logits:class {n}", score=float(n % 4), seed=2**62 + 1
        )
        for n in range(9)
    ]
    records += [dataclasses.replace(DONE, id=f"layer3-{n:04d}", target=f"layer3:{n}", scores={}) for n in range(6)]
    records[1].target = SCRIPT
    for number, record in enumerate(records):
        record.image = f"images/{record.id}.png"
        picture = colour(number)[:, None, None].expand(3, 64, 64)
        write_picture(folder / record.image, picture, record, {"optimizer": {"class": "Adam"}})
    records[10].image, records[10].status, records[10].score = None, "diverged", None
    records[11].status = "dead"
    frames = folder / "jobs" / "0123" / "frames"
    frames.mkdir(parents=True)
    for step in STEPS:  # the picture grows in size and turns from grey to its colour
        height, width = (20, 26) if step < 100 else (40, 52)
        share = step / max(STEPS)
        pictures = torch.stack([share * colour(n) + (1 - share) * 0.5 for n in range(9)])[..., None, None]
        grid = make_grid(pictures.expand(-1, -1, height, width), nrow=3, pad_value=1.0)
        (frames / f"{step:08d}.jpg").write_bytes(encode_jpeg(to_uint8(grid)))
    write_manifest(frames.parent / "done.jsonl", records[:9])
    write_manifest(folder / "manifest.jsonl", records)
    write_gallery([folder])
    return folder


def url(run: Path, id_: str = "") -> str:
    return (run / "gallery.html").as_uri() + (f"#demo/{id_}" if id_ else "")


def focused(browser: Browser) -> str | None:
    found: str | None = browser.run("document.activeElement.title || document.activeElement.id")
    return found


def is_open(browser: Browser) -> bool:
    return bool(browser.run("byId('detail').open"))


def shown(browser: Browser) -> list[str]:
    """Titles of the thumbnails that one sees, in order."""
    found: list[str] = browser.run(
        "[...document.querySelectorAll('#groups a')].filter((a) => a.offsetParent).map((a) => a.title)"
    )
    return found


def choose(browser: Browser, control: str, value: str) -> None:
    browser.run(f"byId('{control}').value = {value!r}; byId('{control}').dispatchEvent(new Event('change'))")


def facts(browser: Browser) -> dict[str, str]:
    found: list[tuple[str, str]] = browser.run(
        "[...document.querySelectorAll('dt')].map((dt) => [dt.textContent, dt.nextSibling.textContent])"
    )
    return dict(found)


def screen(browser: Browser) -> Any:
    shot = browser.send("Page.captureScreenshot", format="png")["data"]
    return np.array(Image.open(io.BytesIO(b64decode(shot))).convert("RGB")).astype(int)


def test_two_thousand_pictures_are_quick(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    noise, records = np.random.default_rng(0), []
    for number in range(2000):
        id_ = f"layer{1 + number // 500}-{number % 500:04d}"
        record = dataclasses.replace(
            DONE,
            id=id_,
            target=f"layer{1 + number // 500}:{number % 500}",
            image=f"images/{id_}.png",
            score=float(noise.normal()),
            scores={"saturated": 0.0123, "high_frequency": 0.4567, "probability": 0.9876, "top1": "computer keyboard"},
        )
        Image.fromarray(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / str(record.image))
        records.append(record)
    write_manifest(tmp_path / "manifest.jsonl", records)
    page = write_gallery([tmp_path])
    # Other processes only add to a time: the least of three tells what the page takes.
    opened = min(browser.open(page.as_uri()) for _ in range(3))
    keystrokes = np.min([browser.run(TYPE) for _ in range(3)], axis=0)
    print(f"\nopen {1000 * opened:.0f} ms, filter {keystrokes.max():.0f} ms, page {page.stat().st_size / 1000:.0f} KB")
    assert len(shown(browser)) == 2000
    loaded = browser.run("[...document.images].filter((image) => image.complete && image.naturalWidth).length")
    assert 20 < loaded < 1000
    assert opened < 2
    assert keystrokes.max() < 200
    assert page.stat().st_size < 500_000


def test_names_are_text(browser: Browser, run: Path) -> None:
    for place in ("", "logits-0001-c"):
        browser.open(url(run, place))
        assert browser.run("document.scripts.length") == 2
        assert SCRIPT in browser.run("document.body.innerText")
    assert browser.run("byId('target').textContent") == SCRIPT
    assert browser.run("document.title") == run.name


def test_every_picture_is_there(browser: Browser, run: Path) -> None:
    browser.open(url(run))
    browser.run("for (const image of document.images) image.loading = 'eager'")
    browser.wait("[...document.images].every((image) => image.complete)")
    assert browser.run("[...document.images].map((image) => image.naturalWidth)") == [64] * 14
    assert browser.run("document.querySelectorAll('#groups .badge').length") == 2
    placeholder = "[...document.querySelectorAll('#groups a')].find((a) => a.title === 'layer3:1').innerText"
    assert browser.run(placeholder).split("\n")[:2] == ["no picture", "diverged"]
    assert browser.run("[...document.querySelectorAll('#groups h2')].map((h) => h.textContent)") == [
        "logits8", "objective1", "layer36",
    ]  # fmt: skip


def test_a_missing_file_is_told(browser: Browser, run: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.jsonl", [dataclasses.replace(DONE, image="images/gone.png")])
    browser.open(write_gallery([tmp_path]).as_uri())
    browser.wait("document.querySelector('#groups .none')?.textContent === 'file missing'")


def test_sorting(browser: Browser, run: Path) -> None:
    browser.open(url(run))
    classes, channels = [f"logits:class {n}" for n in range(9) if n != 1], [f"layer3:{n}" for n in range(6)]
    assert shown(browser) == [*classes, SCRIPT, *channels]
    choose(browser, "sort", "unit")
    assert shown(browser) == [*channels, *classes, SCRIPT]
    browser.run("byId('grouped').click()")
    choose(browser, "sort", "score")
    by_score = [f"logits:class {n}" for n in (3, 7, 2, 6)] + [SCRIPT, "logits:class 5"]
    assert shown(browser)[:6] == by_score
    assert shown(browser)[-1] == "layer3:1"  # has no score
    choose(browser, "sort", "name")
    assert shown(browser) == [SCRIPT, *channels, *classes]


def test_filters(browser: Browser, run: Path) -> None:
    browser.open(url(run))
    for control, value, left in [
        ("layer", "layer3", [f"layer3:{n}" for n in range(6)]),
        ("status", "dead", ["layer3:2"]),
        ("status", "partial", []),
    ]:
        if value == "partial":
            browser.run("byId('filter').value = 'no such name'; byId('filter').dispatchEvent(new Event('input'))")
        else:
            choose(browser, control, value)
        assert shown(browser) == left
        assert browser.run("byId('count').textContent") == f"{len(left)} of 15 targets of demo"
    assert browser.run("!byId('nothing').hidden")
    assert browser.run("byId('network').parentNode.hidden")  # there is but one


def test_a_link_opens_the_detail_view(browser: Browser, run: Path) -> None:
    browser.open(url(run, "logits-0002-c"))
    assert is_open(browser)
    assert browser.run("byId('target').textContent") == "logits:class 2"
    told = facts(browser)
    assert told == {
        "target": "logits:class 2", "status": "done", "score": "2", "probability": "0.5", "network": "demo",
        "run": run.name, "size": "64 \u00d7 64", "steps": "128", "seed": str(2**62 + 1), "seconds": "0.25",
    }  # fmt: skip
    assert "class: Adam" in browser.run("byId('recipe').textContent")
    assert browser.run("byId('file').href") == (run / "images" / "logits-0002-c.png").as_uri()
    assert browser.run("document.querySelector('#shown img').alt") == "Picture of logits:class 2"
    browser.press("Escape")
    assert not is_open(browser)
    assert focused(browser) == "logits:class 2"


def test_a_picture_that_is_missing_has_its_status(browser: Browser, run: Path) -> None:
    browser.open(url(run, "layer3-0001"))
    told = facts(browser)
    assert (told["status"], told["score"]) == ("diverged", "\N{EN DASH}")
    assert browser.run("byId('shown').innerText") == "no picture"
    assert browser.run("byId('growth').hidden && byId('file').parentNode.hidden")


def test_a_link_to_nothing_opens_nothing(browser: Browser, run: Path) -> None:
    for place in ("none", "%E0%A4%A"):
        browser.open(url(run, place))
        assert not is_open(browser)


def test_back_closes_the_detail_view(browser: Browser, run: Path) -> None:
    browser.open(url(run))
    browser.run("document.querySelector('#groups a').click()")
    browser.wait("byId('detail').open")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.run("byId('target').textContent") == "logits:class 3"
    browser.run("history.back()")
    browser.wait("!byId('detail').open")
    assert browser.run("location.hash") == ""
    browser.run("history.forward()")
    browser.wait("byId('detail').open")
    assert browser.run("byId('target').textContent") == "logits:class 3"
    browser.run("byId('close').click()")
    browser.wait("!byId('detail').open")


def test_keys(browser: Browser, run: Path) -> None:
    browser.open(url(run))
    for key, there in [
        ("/", "filter"),
        ("ArrowDown", "logits:class 0"),
        ("ArrowRight", "logits:class 2"),
        ("ArrowLeft", "logits:class 0"),
        ("ArrowLeft", "logits:class 0"),
        ("ArrowDown", SCRIPT),
        ("ArrowDown", "layer3:0"),
        ("ArrowRight", "layer3:1"),
        ("ArrowUp", SCRIPT),
        ("End", "layer3:5"),
        ("Home", "logits:class 0"),
        ("ArrowRight", "logits:class 2"),
        ("/", "filter"),
        ("Escape", "filter"),
        ("ArrowDown", "logits:class 2"),
    ]:
        browser.press(key)
        assert focused(browser) == there, key
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    browser.wait("byId('detail').open")
    for key, target in [
        ("ArrowLeft", "logits:class 0"),
        ("ArrowLeft", "logits:class 0"),
        ("ArrowRight", "logits:class 2"),
        ("ArrowRight", "logits:class 3"),
    ]:
        browser.press(key)
        assert browser.run("byId('target').textContent") == target
        assert browser.run("decodeURIComponent(location.hash)").startswith("#demo/logits-000")
    assert browser.run("byId('place').textContent") == "3 of 15"
    browser.press("Escape")
    browser.wait("!byId('detail').open")
    assert focused(browser) == "logits:class 3"


def test_typing_a_slash_into_the_filter(browser: Browser, run: Path) -> None:
    browser.open(url(run))
    for key in "/c/":
        browser.press(key)
    assert browser.run("byId('filter').value") == "c/"


def test_tab_enters_the_thumbnails_once(browser: Browser, run: Path) -> None:
    browser.open(url(run))
    assert browser.run("[...document.querySelectorAll('#groups a')].filter((a) => a.tabIndex === 0).length") == 1


@pytest.mark.parametrize("number", [0, 1, 5, 8])
def test_the_strip_shows_one_picture_growing(browser: Browser, run: Path, number: int) -> None:
    """Each cell is of the picture's colour up to its corners: neither a neighbour nor the white between them."""
    browser.open(url(run, f"logits-{number:04d}-c"))
    browser.wait("[...document.querySelectorAll('#strip canvas')].every((canvas) => canvas.width % 26 === 0)")
    browser.frame()
    assert browser.run("[...document.querySelectorAll('#strip li')].map((cell) => cell.textContent)") == [
        "0",
        "16",
        "128",
    ]
    pixels = screen(browser)
    boxes = browser.run(
        "[...document.querySelectorAll('#strip canvas')].map((canvas) => {"
        " const { left, top, right, bottom } = canvas.getBoundingClientRect(); return [left, top, right, bottom] })"
    )
    for step, (left, top, right, bottom) in zip(STEPS, boxes, strict=True):
        share = step / max(STEPS)
        expected = 255 * (share * colour(number) + (1 - share) * 0.5).numpy()
        cell = pixels[round(top) + 1 : round(bottom) - 1, round(left) + 1 : round(right) - 1]
        assert cell.shape[0] > 30
        np.testing.assert_allclose(cell, np.broadcast_to(expected, cell.shape), atol=16)  # of JPEG
        np.testing.assert_allclose(cell.mean((0, 1)), expected, atol=2)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 16])
def test_the_strip_of_any_job(browser: Browser, tmp_path: Path, count: int) -> None:
    records = [dataclasses.replace(DONE, id=f"layer3-{n:04d}", target=f"layer3:{n}") for n in range(count)]
    frames = tmp_path / "jobs" / "0" / "frames"
    frames.mkdir(parents=True)
    pictures = torch.stack([torch.full((3, 30, 22), (n + 1) / 20) for n in range(count)])
    grid = make_grid(pictures, nrow=max(1, round(count**0.5 + 0.49)), pad_value=1.0)
    (frames / "00000000.jpg").write_bytes(encode_jpeg(to_uint8(grid)))
    write_manifest(frames.parent / "done.jsonl", records)
    write_manifest(tmp_path / "manifest.jsonl", records)
    page = write_gallery([tmp_path])
    browser.open(f"{page.as_uri()}#demo/layer3-{count - 1:04d}")
    browser.wait("[...document.querySelectorAll('#strip canvas')].every((canvas) => canvas.width === 22)")
    browser.frame()
    x, y = browser.run(
        "(() => { const box = document.querySelector('#strip canvas').getBoundingClientRect();"
        " return [(box.left + box.right) / 2, (box.top + box.bottom) / 2] })()"
    )
    np.testing.assert_allclose(screen(browser)[round(y), round(x)], 255 * count / 20, atol=4)


@pytest.mark.parametrize("size", [(360, 640), (390, 844), (1280, 900)])
@pytest.mark.parametrize("place", ["", "logits-0002-c"])
def test_nothing_is_wider_than_the_screen(browser: Browser, run: Path, size: tuple[int, int], place: str) -> None:
    browser.screen(*size)
    browser.open(url(run, place))
    page = "byId('detail')" if place else "document.documentElement"
    assert browser.run(f"{page}.scrollWidth <= {page}.clientWidth")


def test_light_and_dark(browser: Browser, run: Path) -> None:
    for scheme, dark in (("light", False), ("dark", True)):
        browser.screen(1280, 900, prefers_color_scheme=scheme)
        browser.open(url(run))
        assert (screen(browser)[-5, 5].mean() < 128) == dark


def test_nothing_moves_where_that_is_asked_for(browser: Browser, run: Path) -> None:
    for wish, moving in (("no-preference", "appear"), ("reduce", "none")):
        browser.screen(1280, 900, prefers_reduced_motion=wish)
        browser.open(url(run, "logits-0002-c"))
        assert browser.run("getComputedStyle(byId('detail')).animationName") == moving


def test_several_runs(browser: Browser, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "b" / "other"
    other.mkdir(parents=True)
    write_manifest(
        other / "manifest.jsonl", [dataclasses.replace(DONE, id="layer3-0001", target="layer3:1", network="big")]
    )
    page = write_gallery([run, other], tmp_path / "page.html")
    browser.open(page.as_uri())
    assert browser.run("[...document.querySelectorAll('#groups h2')].map((h) => h.textContent)") == [
        "big · layer31", "demo · layer36", "demo · logits8", "demo · objective1",
    ]  # fmt: skip
    choose(browser, "network", "big")
    assert shown(browser) == ["layer3:1"]
    assert browser.run("document.querySelector('#groups .run').textContent").endswith("/b/other")
    browser.run("document.querySelector('#groups a').click()")
    browser.wait("byId('detail').open")
    assert facts(browser)["network"] == "big"


def test_several_pictures_of_a_unit(browser: Browser, tmp_path: Path) -> None:
    """They stand together, the best is named and can be shown alone; those of a whole layer are below its heading."""
    units = {"layer3": 2, "layer3:7": 3}
    records = []
    for unit, count in units.items():
        for n in range(1, count + 1):
            scores: dict[str, float | str] = {"rank": 1 + count - n, "similarity": 0.5}
            name = {"id": f"{unit}-{n}", "target": f"{unit} #{n}", "unit": unit, "facet": n}
            records.append(dataclasses.replace(DONE, **name, score=float(n), scores=scores))
    records.append(dataclasses.replace(DONE, id="8", target="layer3:8", score=2.5, scores={}))
    write_manifest(tmp_path / "manifest.jsonl", records)
    browser.open(write_gallery([tmp_path]).as_uri())
    titles = ["layer3 #1", "layer3 #2", "layer3:7 #1", "layer3:7 #2", "layer3:7 #3", "layer3:8"]
    assert shown(browser) == titles
    assert browser.run("[...document.querySelectorAll('h2')].map((heading) => heading.textContent)")[:1] == ["layer36"]
    names = browser.run("[...document.querySelectorAll('#groups .name')].map((name) => name.textContent)")
    assert names == ["whole layer #1", "whole layer #2", "7 #1", "7 #2", "7 #3", "8"]
    browser.run("location.hash = '#demo/layer3:7~3'")
    assert facts(browser)["rank"] == "1"
    browser.press("Escape")
    options = browser.run("[...byId('sort').options].map((option) => option.value)")
    assert "similarity" in options
    assert "rank" not in options  # the highest is the worst
    choose(browser, "among", "highest of each")
    assert shown(browser) == ["layer3 #2", "layer3:7 #3", "layer3:8"]
    choose(browser, "sort", "score")
    assert shown(browser) == ["layer3:7 #3", "layer3:8", "layer3 #2"]


def links(browser: Browser) -> dict[str, str]:
    """The address of each picture, from the page."""
    found: dict[str, str] = browser.run(
        "Object.fromEntries(items.map(({target, run, hash}) => [`${target} ${run}`, hash]))"
    )
    return found


def opened(browser: Browser, page: Path, link: str) -> tuple[str, str]:
    """Target and seed of the picture that a link shows."""
    browser.open(page.as_uri() + link)
    browser.wait("byId('detail').open")
    return browser.run("byId('target').textContent"), facts(browser)["seed"]


def test_a_link_to_a_unit_survives_another_render(browser: Browser, tmp_path: Path) -> None:
    """Of another seed, length, size and number of pictures, in a run folder of another name; and beside the first."""

    def rendered(name: str, targets: str, **options: Any) -> Path:
        out = tmp_path / name
        render("demo", targets, out=out, progress=False, accelerator="cpu", **options)
        return out

    first = rendered("first", "layer4:12+logits:pizza", steps=1, seed=1)
    again = rendered("later/again", "logits:pizza x3+layer4:12+layer4:13", steps=2, seed=2, size=24, batch_size=1)
    browser.open((first / "gallery.html").as_uri())
    assert links(browser) == {"layer4:12 first": "#demo/layer4-0012", "logits:pizza first": "#demo/logits-0011-pizza"}
    for link, target in {"#demo/layer4-0012": "layer4:12", "#demo/logits-0011-pizza": "logits:pizza"}.items():
        assert opened(browser, first / "gallery.html", link) == (target, "1")
        name = "logits:pizza #1" if target == "logits:pizza" else target
        assert opened(browser, again / "gallery.html", link) == (name, "2")
    assert opened(browser, again / "gallery.html", "#demo/logits-0011-pizza~3") == ("logits:pizza #3", "2")
    # A page of both runs: each picture has a link of its own, and those of the first run stay.
    page = write_gallery([first, again], tmp_path / "both.html")
    browser.open(page.as_uri())
    both = links(browser)
    assert len(set(both.values())) == len(both) == 7
    assert opened(browser, page, "#demo/layer4-0012") == ("layer4:12", "1")
    assert opened(browser, page, both["layer4:12 later/again"]) == ("layer4:12", "2")
    assert opened(browser, page, both["logits:pizza #1 later/again"]) == ("logits:pizza #1", "2")
    # What such a page adds to a link is left out where there is no such picture.
    assert opened(browser, first / "gallery.html", both["layer4:12 later/again"]) == ("layer4:12", "1")
    assert opened(browser, first / "gallery.html", "#demo/logits-0011-pizza~3") == ("logits:pizza", "1")


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Five pictures: one of each verdict, and one that was not evaluated."""
    records = [
        dataclasses.replace(DONE, id=f"p-{n}", target=f"logits:{n}", scores={}, image=f"images/p-{n}.png")
        for n in range(5)
    ]
    (tmp_path / "images").mkdir()
    for record in records:
        write_picture(tmp_path / str(record.image), torch.full((3, 64, 64), 0.5), record, {})
    write_manifest(tmp_path / "manifest.jsonl", records)
    faithful = {"score": 1.0, "photo_percentile": 99.5}
    add_evidence(
        tmp_path,
        evidence_of(
            "p-0",
            faithful=PIZZA.faithful | {"mono_score": 0.02},
            plausible=PIZZA.plausible | {"correlation(small)": 0.38, "percentile(small)": 12.34},
            reasons=[SCRIPT, "both judges agree"],
        ),
        evidence_of("p-1", verdict="doubt", faithful=faithful | {"photo_multiple": 7.0}),
        evidence_of(
            "p-2", verdict="distrust", brief="right in 70 %", faithful=faithful, path={"layer1": -0.2, "logits": 0.1}
        ),
        evidence_of(
            "p-3", verdict="unknown", brief="", reasons=[], faithful={}, plausible={}, path={}, examples=[], least=[]
        ),
    )
    return write_gallery([tmp_path])


def test_verdicts_on_the_thumbnails(browser: Browser, judged: Path) -> None:
    browser.open(judged.as_uri())
    told = "[...document.querySelectorAll('#groups a')].map((a) => a.querySelector('.mark')?.textContent ?? '')"
    assert browser.run(told) == [
        "trusted: right in 95 %",
        "doubtful: right in 95 %",
        "not trusted: right in 70 %",
        "no verdict",
        "",
    ]
    insets = "[...document.querySelectorAll('#groups a')].map((a) => a.querySelectorAll('.inset img').length)"
    assert browser.run(insets) == [1, 1, 1, 0, 0]
    browser.wait("[...document.querySelectorAll('.inset img')].every((image) => image.naturalWidth === 64)")
    counts = "[...document.querySelectorAll('#counts .counts > span')].map((count) => count.textContent)"
    assert browser.run(counts) == ["1 trusted", "1 doubtful", "1 not trusted", "1 no verdict"]
    label = browser.run("document.querySelector('#runs svg').getAttribute('aria-label')")
    assert "layer1 0.016 ± 0.2" in label  # the mean of 0.123, 0.123 and -0.2
    assert "logits 1.2" in label


def test_pictures_by_verdict_and_by_photos(browser: Browser, judged: Path) -> None:
    browser.open(judged.as_uri())
    choose(browser, "verdict", "not trusted")
    assert shown(browser) == ["logits:2"]
    choose(browser, "verdict", "not evaluated")
    assert shown(browser) == ["logits:4"]
    choose(browser, "verdict", "")
    choose(browser, "sort", "photo_multiple")
    assert shown(browser) == [f"logits:{n}" for n in (1, 0, 2, 3, 4)]
    assert "x7" in browser.run("document.querySelector('#groups .numbers').textContent")
    choose(browser, "sort", "photo_percentile")
    assert shown(browser)[:2] == ["logits:1", "logits:2"]


def test_evidence_in_the_detail_view(browser: Browser, judged: Path) -> None:
    place = f"{judged.as_uri()}#demo"
    browser.open(f"{place}/p-0")
    assert browser.run("byId('judgement').textContent") == f"Trusted: {SCRIPT}; both judges agree."
    assert browser.run("document.scripts.length") == 2
    told = facts(browser)
    assert told["times the best photo"] == "3.14"
    assert told["two-choice accuracy"] == "95 %"
    assert told["big"] == "p 0.99"
    assert told["small"] == (
        "its unit most like this one is layer4:7, with a correlation of 0.38 over photos, "
        "and responds to the picture more than to 12.3 % of photos"
    )
    hints = "[...document.querySelectorAll('#faithful .hint')].map((hint) => hint.textContent)"
    assert browser.run(hints)[-1].endswith("0 as any photos, 1 the same")
    assert "score" not in told  # stands above as a value
    alt = "[...document.querySelectorAll('#best img')].map((image) => image.alt)"
    assert browser.run(alt) == [
        "Strongest photo 1: a/pizza 1.jpg, value 4.57; what the unit saw is framed",
        "Strongest photo 2: a/pie.jpg, value 3",
    ]
    box = "[...document.querySelectorAll('#best .crop, #best .photo')].map((e) => { const { left, top, width, height } = e.getBoundingClientRect(); return [left, top, width, height] })"
    photo, crop, _ = browser.run(box)
    assert crop == pytest.approx(
        [photo[0] + 0.1 * photo[2], photo[1] + 0.25 * photo[3], 0.8 * photo[2], 0.75 * photo[3]], abs=0.1
    )
    assert browser.run("document.querySelector('#path svg').getAttribute('aria-label')").endswith(
        "layer1 0.12, logits 1.8"
    )
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.run("byId('judgement').textContent").startswith("Not trusted: fires")
    browser.press("ArrowRight")
    assert browser.run("byId('judgement').textContent") == "No verdict."
    assert browser.run("document.querySelectorAll('#path svg').length") == 0
    browser.press("ArrowRight")
    assert browser.run("byId('trust').hidden && byId('numbers').hidden")
    assert facts(browser)["score"] == "1"


@pytest.mark.parametrize("size", [(360, 640), (1280, 900), (1280, 1600)])
@pytest.mark.parametrize("place", ["", "p-0"])
def test_evidence_fits_the_screen(browser: Browser, judged: Path, size: tuple[int, int], place: str) -> None:
    browser.screen(*size)
    browser.open(judged.as_uri() + (f"#demo/{place}" if place else ""))
    if place:  # nothing empty above and below a square picture
        browser.wait("document.querySelector('#shown img').complete")
        assert browser.run("(({ width, height }) => height <= width)(document.querySelector('#shown img'))")
    page = "byId('detail')" if place else "document.documentElement"
    assert browser.run(f"{page}.scrollWidth <= {page}.clientWidth")


def test_a_run_without_evidence_has_no_place_for_it(browser: Browser, run: Path) -> None:
    browser.open(url(run, "logits-0002-c"))
    assert browser.run("['evidence', 'trust', 'numbers'].every((id) => byId(id).hidden)")
    assert browser.run("byId('verdict').parentNode.hidden")
    assert browser.run("document.querySelectorAll('.mark, .inset').length") == 0
    assert "photo_multiple" not in browser.run("[...byId('sort').options].map((option) => option.value)")
