"""Classes that are the same, by name or WordNet id."""

import json
from pathlib import Path

import pytest
from torchvision.models import ResNet50_Weights

from lightning_fv.networks import load_network
from lightning_fv.networks.classes import FILE, canonical, class_index
from lightning_fv.networks.demo import NAMES

IMAGENET = ResNet50_Weights.DEFAULT.meta["categories"]


def test_the_names_are_those_of_torchvision() -> None:
    names = json.loads(Path(FILE).read_text(encoding="utf-8"))
    assert list(names) == sorted(names)
    assert list(names.values()) == list(IMAGENET)


def test_names_and_ids_of_a_class_are_the_same() -> None:
    for name in ("lion", "Lion", " LION ", "n02129165", "N02129165"):
        assert canonical(name) == "n02129165"
    assert canonical("king_penguin") == canonical("King Penguin") == "n02056570"
    assert canonical("my_class") == "my class"
    assert canonical("") == ""


def test_each_class_of_imagenet_is_found_by_its_name_and_by_its_id() -> None:
    """The dog Cardigan and the garment cardigan differ by a capital alone."""
    names = json.loads(Path(FILE).read_text(encoding="utf-8"))
    assert [class_index(wnid, IMAGENET) for wnid in names] == list(range(1000))
    assert [class_index(name, IMAGENET) for name in IMAGENET] == list(range(1000))
    assert {name.lower() for name in IMAGENET if IMAGENET.count(name) > 1} == set()


@pytest.mark.parametrize("name", NAMES)
def test_classes_of_the_embedded_networks_are_those_of_imagenet(name: str) -> None:
    categories = load_network(name).categories
    found = [class_index(category, IMAGENET) for category in categories]
    assert [IMAGENET[index] for index in found if index is not None] == list(categories)
    assert [class_index(canonical(category), categories) for category in categories] == list(range(len(categories)))


def test_a_class_that_is_not_there_or_not_alone_has_no_index() -> None:
    assert class_index("lion", ["tiger", "my_class"]) is None
    assert class_index("My class", ["tiger", "my_class"]) == 1
    assert class_index("lion", ["lion", "Lion", "cat"]) is None
    assert class_index("lion", []) is None
