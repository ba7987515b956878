from pathlib import Path

import pytest

from lightning_fv import load_network, resolve_targets
from lightning_fv.errors import FeatureVisualizationError, TargetError
from lightning_fv.objectives import Caricature, Inversion
from lightning_fv.targets.photos import parse_photo
from tests.helpers import save_picture, smooth_photos


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_picture(tmp_path / "a photo@home.png", smooth_photos(12, 10)[0])
    return tmp_path / "a photo@home.png"


def test_a_photo_and_a_layer(file: Path) -> None:
    assert parse_photo(f"inversion:{file}@layer3") == Inversion("layer3", file)
    assert parse_photo(f"caricature:{file}@layer3.0.conv1") == Caricature("layer3.0.conv1", file)


def test_as_targets_of_a_network(file: Path) -> None:
    texts = [f"inversion:{file}@layer3", f"caricature:{file}@layer4"]
    targets = resolve_targets("+".join([*texts, "logits:3"]), load_network("demo"))
    assert [target.text for target in targets][:2] == texts
    assert len({target.id for target in targets}) == 3
    (one, two) = resolve_targets(f"{texts[0]} x2", load_network("demo"))
    assert (one.text, two.text) == (f"{texts[0]} #1", f"{texts[0]} #2")


def test_what_cannot_be_read_is_told_in_one_line(file: Path) -> None:
    for text, told in {
        "inversion:photo.jpg": "write inversion:FILE@LAYER, such as inversion:photo.jpg@layer3",
        "caricature:@layer3": "write caricature:FILE@LAYER",
        "inversion:nowhere.jpg@layer3": "cannot read the photo nowhere.jpg: No such file",
    }.items():
        with pytest.raises(TargetError, match=told):
            parse_photo(text)
    with pytest.raises(FeatureVisualizationError, match="no layer 'layer9'"):
        resolve_targets(f"inversion:{file}@layer9", load_network("demo"))
