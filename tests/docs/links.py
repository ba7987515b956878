"""Links of a page, and the anchors of its headings as plain git hosts and the site make them."""

import re
from pathlib import Path

_CODE = re.compile(r"^```.*?^```$|^    [^\n]*$|`[^`\n]*`|<!--.*?-->", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(text: str) -> list[str]:
    """The targets of links and pictures outside of code."""
    return _LINK.findall(_CODE.sub("", text))


def anchors(page: Path) -> set[str]:
    """Of the headings of a page: in lower case, without punctuation, hyphens for spaces, ``-1`` on for repetitions."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.append(plain if plain not in found else f"{plain}-{found.count(plain)}")
    return set(found)
