"""Targets that are read again from the records of a run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lightning_fv.objectives import Channel, Function, Logit
from lightning_fv.targets import resolve_targets
from lightning_fv.trust.recorded import recorded_targets
from tests.helpers import autoencoder
from tests.trust.runs import network_of, rendered


@pytest.mark.parametrize(
    "targets",
    [
        "logits:pizza+logits:0-1+conv1:3", "conv2:1 x3+logits:lion x2", "conv2:1@2,3", "conv1", "probability:iPod",
        [Channel("conv1", 1)], [Logit(3)],
    ],
    ids=str,
)  # fmt: skip
def test_they_are_those_that_were_rendered(targets: Any, tmp_path: Path) -> None:
    network = network_of()
    records = rendered(tmp_path / "run", network, targets).records()
    found, reasons = recorded_targets(records, network)
    assert not reasons
    for target, record in zip(resolve_targets(targets, network), records, strict=True):
        again = found[record.id]
        assert (again.id, again.text, again.key, again.facet) == (target.id, record.target, target.key, target.facet)
        assert again.objective.same_as(target.objective)


def test_sums_are_known_from_what_was_asked_for(tmp_path: Path) -> None:
    network, text = network_of(), "sum(0.5*conv1:1 - 0.3*conv2:2)"
    records = rendered(tmp_path / "run", network, f"{text}+conv1:3 x2").records()
    assert list(recorded_targets(records, network)[1]) == [records[0].id]
    found, reasons = recorded_targets(records, network, [text, "conv1:3 x2", "logits:no such class"])
    assert not reasons
    assert [target.text for target in found.values()] == [record.target for record in records]


def test_one_that_cannot_be_read_says_why_and_no_other_suffers(tmp_path: Path) -> None:
    network = network_of()
    bright = Function(lambda activations, images: activations["conv1"].mean((1, 2, 3)), layers=["conv1"], name="bright")
    records = rendered(tmp_path / "run", network, ["logits:pizza", bright, "conv1:2"]).records()
    found, reasons = recorded_targets(records, network)
    assert set(found) == {records[0].id, records[2].id}
    assert list(reasons) == [records[1].id]
    assert reasons[records[1].id].startswith("its target cannot be read again: ")
    assert "\n" not in reasons[records[1].id]


def test_a_file_that_was_changed_is_noticed(tmp_path: Path) -> None:
    network, file = network_of(), tmp_path / "sae.safetensors"
    save_file(autoencoder(8, 10), file, {"architecture": "relu", "layer": "conv1"})
    records = rendered(tmp_path / "run", network, f"sae:{file}:3").records()
    found, reasons = recorded_targets(records, network)
    assert list(found) == [records[0].id]
    parts = autoencoder(8, 10)
    save_file({**parts, "b_enc": parts["b_enc"] * 2}, file, {"architecture": "relu", "layer": "conv1"})
    found, reasons = recorded_targets(records, network)
    assert not found
    assert "is no longer what was rendered" in reasons[records[0].id]
    file.unlink()
    found, reasons = recorded_targets(records, network)
    assert "cannot be read again" in reasons[records[0].id]
    assert torch.is_grad_enabled()
