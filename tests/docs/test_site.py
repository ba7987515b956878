"""The site builds without warnings, has the pages of mkdocs.yml, and loads nothing from elsewhere."""

import functools
import json
import re
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.browser.devtools import Browser
from tests.docs.examples import ROOT
from tests.processes import run_python

sys.path.insert(0, str(ROOT / "scripts"))
import site_hooks


def test_links_out_of_docs_lead_to_pages_of_the_site() -> None:
    moved = site_hooks.moved_links(
        "[a](../SECURITY.md#x) [b](images/p.webp) [c](notebooks/start.ipynb) [d](../x/y.yaml) [e](#f) [g](https://h) `[i](j)`",
        "docs/page.md",
        "page.md",
    )
    assert moved == (
        "[a](repository/SECURITY.md#x) [b](images/p.webp) [c](notebooks/start.md) [d](repository/x/y.yaml.md) "
        "[e](#f) [g](https://h) `[i](j)`"
    )
    assert (
        site_hooks.moved_links("[a](../README.md)", "docs/notebooks/n.ipynb", "notebooks/n.md") == "[a](../README.md)"
    )
    assert site_hooks.moved_links("[a](tests/x.py)", "SECURITY.md", "repository/SECURITY.md") == "[a](tests/x.py.md)"


@pytest.mark.parametrize("path", ["docs/a.md", "docs/notebooks/n.ipynb", "SECURITY.md", "a/b.md"])
def test_pages_know_where_they_are_from(path: str) -> None:
    assert site_hooks.repository_path(site_hooks.site_path(path)) == path


def test_files_that_pages_link_to_are_found() -> None:
    found = site_hooks.linked_files(["docs/methods.md", "docs/extend.md"])
    assert {"lightning_fv/recipes/deepdream.yaml", "SECURITY.md", "CONTRIBUTING.md"} <= set(found)
    assert site_hooks.repository_page("lightning_fv/recipes/maco.yaml").startswith(
        "# lightning_fv/recipes/maco.yaml\n\n````yaml\n"
    )


def test_reference_has_the_public_names() -> None:
    page = site_hooks.reference("parameterizations")
    assert re.findall(r"^::: lightning_fv\.parameterizations\.(\w+)$", page, re.M)[:2] == ["CPPN", "MACO"]
    assert "::: lightning_fv.errors.UsageError" in site_hooks.reference("errors")
    assert "OPACITY" not in site_hooks.reference("objectives")


def test_examples_of_docstrings_are_code() -> None:
    lines = ["Text.", "", "  >>> a  # doctest: +SKIP", "  1", "", "More", ">>> b"]
    assert site_hooks.fenced(lines) == [
        "Text.", "", "", "  ```pycon", "  >>> a", "  1", "  ```", "", "More", "", "```pycon", ">>> b", "```"
    ]  # fmt: skip


def test_outputs_of_notebooks_are_shown() -> None:
    outputs = [
        {"output_type": "stream", "text": ["a\n", "b\n"]},
        {"data": {"text/html": ["<b>", "c</b>"], "text/plain": "no"}},
        {"data": {"image/png": "QUJD\n"}},
        {"data": {"text/plain": " "}},
    ]
    cells = [{"cell_type": "markdown", "source": ["# T"]}, {"cell_type": "code", "source": ["1"], "outputs": outputs}]
    page = site_hooks.notebook_page({"cells": cells})
    assert page == (
        '# T\n\n```python\n1\n```\n\n```\na\nb\n```\n\n<div class="output"><b>c</b></div>\n\n'
        '<img alt="output" src="data:image/png;base64,QUJD">\n'
    )


def test_each_page_is_in_the_navigation() -> None:
    config = site_hooks.on_config(yaml.safe_load((ROOT / "mkdocs.yml").read_text()))
    named = set(re.findall(r"[\w/]+\.md", json.dumps(config["nav"])))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= named
    made = {path.relative_to(ROOT / "docs").with_suffix(".md").as_posix() for path in (ROOT / "docs").rglob("*.ipynb")}
    assert named - pages == made | {f"api/{package}.md" for package in site_hooks.API}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    built = run_python("-m", "mkdocs", "build", "--strict", "--site-dir", folder, cwd=ROOT)
    assert built.returncode == 0, built.error_output
    return folder


@pytest.mark.slow
def test_site_builds_without_warnings(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert "ProgressiveUpscale" in (site / "api" / "callbacks.html").read_text()
    assert '<span class="gp">&gt;&gt;&gt; </span>' in (site / "api" / "lightning_fv.html").read_text()
    assert "data:image/png" in (site / "notebooks" / "start.html").read_text()


@pytest.mark.slow
def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"""<(?:script|img|iframe|link)[^>]*\s(?:src|href)=["']?(?:https?:)?//[^\s>]*""")
    for page in site.rglob("*.html"):
        assert loaded.findall(page.read_text()) == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.browser
def test_site_in_a_browser(site: Path, tmp_path: Path) -> None:
    """Served on this machine: the search finds words, no page is wider than a phone, and nothing is asked of other machines."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, Browser(tmp_path / "profile") as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}"
        browser.screen(390, 844)
        for page in ("index", "gallery", "methods", "networks", "study", "faq", "notebooks/trust", "api/lightning_fv"):
            browser.open(f"{home}/{page}.html")
            assert browser.run("document.documentElement.scrollWidth") <= 390, page
            asked = browser.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
            assert [url for url in asked if not url.startswith((home, "data:"))] == []
        browser.screen(1280, 900)
        browser.open(f"{home}/index.html?q=ProgressiveUpscale")
        browser.wait("document.querySelectorAll('.md-search-result__item a[href*=\"api/callbacks\"]').length > 0")
        server.shutdown()
        assert browser.errors == []


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""
