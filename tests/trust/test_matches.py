"""The unit of another network that responds most alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightning_fv.trust.matches import best_matches
from tests.helpers import TinyNet
from tests.trust.runs import network_of, responses_of, targets_of, write_photos

ORDER = [3, 0, 4, 1, 2]


def permuted() -> TinyNet:
    """The tiny network with its last channels in another order."""
    module = TinyNet()
    with torch.no_grad():
        module.conv2.weight.copy_(module.conv2.weight[ORDER].clone())
        assert module.conv2.bias is not None
        module.conv2.bias.copy_(module.conv2.bias[ORDER].clone())
    return module


def test_permuted_channels_match_themselves(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    network = network_of()
    targets = targets_of(network, *(f"conv2:{unit}" for unit in range(5)))
    own = responses_of(network, photos, targets)
    judge = responses_of(network_of(permuted(), "judge"), photos)
    found = best_matches(judge, [own.photos.of(target.objective) for target in targets])
    for unit, match in enumerate(found):
        assert match is not None
        assert match.unit == ORDER.index(unit)
        assert match.stage in ("conv2", "logits")  # the logits are the means of conv2
        assert match.correlation == pytest.approx(1, abs=1e-5)


def test_correlations_are_numpys(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    judge = responses_of(network_of(TinyNet(1), "judge"), photos)
    values = np.random.default_rng(0).normal(size=len(judge.photos)).astype(np.float32)
    (match,) = best_matches(judge, [values])
    every = {
        (stage, unit): np.corrcoef(values, judge.photos.layers[stage][:, unit])[0, 1]
        for stage in judge.stages
        for unit in range(judge.photos.layers[stage].shape[1])
    }
    assert match is not None
    assert match.correlation == pytest.approx(max(every.values()), abs=1e-5)
    assert every[match.stage, match.unit] == pytest.approx(max(every.values()), abs=1e-5)


class Broken(nn.Module):
    """NaN in channel 0 of conv2 for bright photos; channel 1 is constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = TinyNet().conv1
        self.conv2 = TinyNet().conv2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nan = torch.where(x.mean((1, 2, 3), keepdim=True) > 0, torch.nan, 0.0)
        maps = self.conv1(x)
        maps = torch.cat([maps[:, :1] + nan, maps[:, 1:2] * 0 + 7, maps[:, 2:]], 1)
        logits: torch.Tensor = self.conv2(maps).mean((2, 3))
        return logits


def test_units_that_are_not_finite_or_constant_match_nothing(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    judge = responses_of(network_of(Broken(), "judge"), photos)
    values = np.random.default_rng(0).normal(size=len(judge.photos)).astype(np.float32)
    nan = values.copy()
    nan[3] = np.nan
    assert best_matches(judge, [None, nan, np.ones_like(values)]) == [None, None, None]
    assert 0 < judge.not_finite < len(judge.photos)
    (match,) = best_matches(judge, [values])
    assert match is not None
    assert match.stage == "conv1"
    judge.photos.layers["conv1"] = np.full_like(judge.photos.layers["conv1"], np.nan)
    judge.scale["conv1"] = torch.full((8,), torch.nan), torch.full((8,), torch.nan)
    assert best_matches(judge, [values]) == [None]
