"""Relative links of README.md, docs/ and the other pages lead to files, and anchors to headings. Nothing is fetched."""

import json
from pathlib import Path

import pytest

from tests.docs.examples import PAGES, ROOT
from tests.docs.links import anchors, links

OTHERS = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "lightning_logs/README.md")]
OTHERS += [ROOT / "lightning_fv" / "assets" / "SOURCES.md"]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


def text_of(page: Path) -> str:
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("page", [*PAGES, *OTHERS, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(text_of(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or ROOT not in file.parents or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_each_picture_of_the_documentation_is_shown() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page.read_text())}
    assert set((ROOT / "docs" / "images").iterdir()) <= shown


def test_the_search_finds_links_and_anchors(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c?\n\n## A b c\n\n[x](y.md#z) `[no](no)` <!-- [no](no) -->\n\n    [no](no)\n\n![p](p.webp)\n```\n# no\n```\n"
    )
    assert links(page.read_text()) == ["y.md#z", "p.webp"]
    assert anchors(page) == {"a-b-c", "a-b-c-1"}
