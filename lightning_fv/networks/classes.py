"""Classes of different networks and folders that are the same: by name, or by ImageNet's WordNet ids."""

import functools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).parents[1] / "assets" / "imagenet_classes.json"
"""WordNet id -> name of ImageNet's 1000 classes, in the order of their ids, as torchvision calls them."""


@functools.cache
def _ids() -> dict[str, str]:
    """WordNet id by name, and by the name in lower case, but for a dog and a garment: Cardigan and cardigan."""
    names: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    lower = Counter(name.lower() for name in names.values())
    found = {name.lower(): wnid for wnid, name in names.items() if lower[name.lower()] == 1}
    return found | {name: wnid for wnid, name in names.items()}


def canonical(name: str) -> str:
    """The WordNet id of a class of ImageNet, given that or its name in any case; any other name in lower case, spaces for underscores.

    >>> canonical("n02129165"), canonical("Lion"), canonical("my_class")
    ('n02129165', 'n02129165', 'my class')
    """
    plain = name.strip().replace("_", " ")
    return _ids().get(plain) or _ids().get(plain.lower(), plain.lower())


def class_index(name: str, categories: Sequence[str]) -> int | None:
    """The index of a class among others' names, by name or WordNet id; None if it is not there or there are several."""
    found = _indices(tuple(categories)).get(canonical(name), [])
    return found[0] if len(found) == 1 else None


@functools.lru_cache(maxsize=16)
def _indices(categories: tuple[str, ...]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, category in enumerate(categories):
        found.setdefault(canonical(category), []).append(index)
    return found
