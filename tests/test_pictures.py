"""Pictures are the product: what the default recipe makes of every class is what it should be."""

import sys
from pathlib import Path

import pytest
import torch

import lightning_fv

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from judge import CHOOSING, REPORTING, judge, load_judge


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_classes_are_named_by_the_network_and_by_others(seed: int) -> None:
    network = lightning_fv.load_network("demo")
    rendering = lightning_fv.render(network, "logits:all", seed=seed, batch_size=24, progress=False)
    units = torch.arange(len(network.categories))
    own = network(rendering.images).softmax(1)[units, units]
    assert int((own >= 0.9).sum()) >= 0.95 * len(units)
    for name in (CHOOSING, *REPORTING):
        probabilities = judge(load_judge(name), rendering.images)
        assert int((probabilities.argmax(1) == units).sum()) >= 0.95 * len(units), name
        assert float(probabilities[units, units].mean()) > 0.9, name
    assert all(record.scores["saturated"] < 0.05 for record in rendering.records)  # type: ignore[operator]
    assert all(record.scores["high_frequency_ratio"] < 1 for record in rendering.records)  # type: ignore[operator]
