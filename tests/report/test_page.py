"""Templates filled in: values are text."""

from html.parser import HTMLParser
from typing import Any

import jinja2
import pytest

from lightning_fv.report.page import page

HOSTILE = ["<script>alert(1)</script>", '"><img src=x>', "' onload='x", "{{ 7 * 7 }}", "</title><b>"]


class Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [value for _, value in attrs if value is not None]

    def handle_data(self, data: str) -> None:
        self.text += data


def values(name: str) -> dict[str, Any]:
    """What a comparison shows, with one name for all that has one."""
    record = {"status": name}
    cell = {"record": record, "lines": [name], "url": "a.png"}
    return {
        "rows": {name: [cell]},
        "columns": [name],
        "means": {name: {name: 1.0}},
        "keys": [name],
        "links": {name: name},
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str) -> None:
    plain, named = (Parsed(page("comparison.html", **values(text))) for text in ("plain", name))
    assert named.tags == plain.tags
    assert named.text.count(name) == plain.text.count("plain") > 3
    assert name in named.attributes


def test_a_value_that_is_missing_is_an_error_and_not_an_empty_place() -> None:
    given = values("plain")
    del given["keys"]
    with pytest.raises(jinja2.UndefinedError, match="keys"):
        page("comparison.html", **given)
