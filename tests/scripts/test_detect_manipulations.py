"""What photos say about pictures of units."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from detect_manipulations import PATH, Evidence, PhotoEvidence, draw, flagged, kept, share_right, summarize

PHOTOS = 400


def test_who_is_flagged() -> None:
    clean = Evidence("n", "layer3", 0, "", "layer3", 1.5, 1.0, 0.3, 0.98, 0.9, 0.9, 0.9, {})
    for changes, found in (
        ({}, False),
        ({"two_choice": 0.5}, True),
        ({"two_choice": math.nan}, True),
        ({"activation_frequency": 0.01}, False),
        ({"activation_frequency": 0.01, "multiple": 3.0}, True),
        ({"activation_frequency": math.nan, "multiple": math.inf}, True),
    ):
        assert flagged(replace(clean, **changes)) == found  # type: ignore[arg-type]
    assert flagged(clean, 0.99)


def test_share_right_counts_all_pairs_and_half_of_ties() -> None:
    alike = torch.tensor([3.0, 1.0, 0.0, 1.0, 2.0])
    assert share_right(alike, torch.tensor([0]), torch.tensor([1, 2, 3, 4])) == 1.0
    assert share_right(alike, torch.tensor([1]), torch.tensor([2, 3, 4])) == pytest.approx((1 + 0.5 + 0) / 3)
    assert share_right(torch.zeros(40), torch.arange(20), torch.arange(20, 40)) == 0.5


@pytest.fixture(scope="module")
def photos() -> PhotoEvidence:
    """Two kinds of photos: in every layer the first half of the channels responds to one, the second half to the other."""
    generator = torch.Generator().manual_seed(0)
    kind = (torch.arange(PHOTOS) % 2).float()[:, None]
    strength = torch.rand(PHOTOS, 1, generator=generator) + 0.5
    activations = {}
    for layer in PATH:
        first = torch.cat([(1 - kind).expand(-1, 16), kind.expand(-1, 16)], 1)
        activations[layer] = (first * strength + 0.3 * torch.randn(PHOTOS, 32, generator=generator)).relu()
    activations["layer4"][:, 5] = 0
    return PhotoEvidence(activations, torch.nn.functional.normalize(activations["layer4"], dim=1))


def evidence(photos: PhotoEvidence, shown: int, unit: int = 0, layer: str = "layer4") -> Evidence:
    """About a picture of what excites the first (0) or the second (1) half of the channels."""
    half: Tensor = torch.cat([torch.full((16,), 2.0 * (1 - shown)), torch.full((16,), 2.0 * shown)])
    half = half + torch.linspace(0, 0.1, 32)
    half[unit] = 5.0  # the unit itself responds to it
    return photos.of("net", layer, unit, "clean", dict.fromkeys(PATH, half), half / half.norm())


@pytest.mark.parametrize("layer", ["layer3", "layer4", "logits"])
def test_an_honest_picture_is_like_the_units_photos_and_another_is_not(photos: PhotoEvidence, layer: str) -> None:
    honest, manipulated = evidence(photos, 0, layer=layer), evidence(photos, 1, layer=layer)
    for statistic in ("two_choice", "before", "cosine", "judge"):
        assert getattr(honest, statistic) > 0.95
        assert getattr(manipulated, statistic) < 0.2
    assert honest.path[honest.compared] > 0.6 > 0 > manipulated.path[manipulated.compared]
    assert honest.compared == ("layer4" if layer == "logits" else layer)
    assert list(honest.path) == list(PATH[: PATH.index(layer) + 1])
    assert honest.percentile == 1
    assert honest.multiple > 1


def test_a_unit_that_photos_never_excite_is_caught(photos: PhotoEvidence) -> None:
    found = evidence(photos, 0, unit=5)
    assert found.activation_frequency == 0
    assert found.multiple == math.inf
    assert flagged(found)


def test_tables_and_curves(photos: PhotoEvidence, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    clean = [evidence(photos, 0, unit) for unit in (0, 1, 2, 3)]
    fooled = [evidence(photos, 1, unit) for unit in (0, 1)]
    fooled = [Evidence(**{**vars(e), "network": "net_0", "kind": "permuted"}) for e in fooled]
    table, chosen = summarize(clean, fooled, ("net", "net_0"))
    assert "| fooled, all | 2 | 2 | 1.000 |" in table
    assert 0.9 < chosen <= 1
    draw(clean, fooled, chosen, tmp_path / "roc.png")
    assert (tmp_path / "roc.png").stat().st_size > 1000


def test_what_is_kept_is_not_made_again(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "value.pt"
    assert kept(file, lambda: [1, 2]) == [1, 2]
    assert kept(file, lambda: pytest.fail("made again")) == [1, 2]
    assert [path.name for path in file.parent.iterdir()] == ["value.pt"]
