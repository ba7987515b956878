"""The end of a job: what it costs does not depend on the number of its pictures."""

from pathlib import Path
from unittest import mock

import pytest

from lightning_fv import load_network, render
from lightning_fv.callbacks import ArtifactWriter, ImageLogger
from lightning_fv.optimization import final_pictures
from tests.mock_device.ledger import Counts
from tests.mock_device.phases import Phases
from tests.mock_device.tensors import DeviceState

MOVED_AWAY = "engines/job.py"
"""Lightning moves the pictures and the optimizer's state to the CPU within `Trainer.fit`, tensor by tensor."""


def end_of(device: DeviceState, targets: str, out: Path | None) -> Counts:
    counted = Phases(device)
    render(
        load_network("demo"), targets, steps=2, out=out, accelerator="cuda", callbacks=[counted], progress=False, batch_size=16
    )  # fmt: skip
    counted.close()
    return counted.end


@pytest.mark.parametrize("written", [False, True])
def test_waits_at_the_end_do_not_grow_with_the_pictures(mock_cuda: DeviceState, tmp_path: Path, written: bool) -> None:
    end_of(mock_cuda, "logits:0", tmp_path / "first" if written else None)  # constants are on the device afterwards
    few, many = (
        end_of(mock_cuda, f"logits:0-{last}+layer3:1 x2", tmp_path / str(last) if written else None) for last in (0, 12)
    )
    assert few.waits == many.waits
    assert sum(count for (line, _), count in many.waits.items() if not line.startswith(MOVED_AWAY)) == 2
    assert many.waits.total() <= 3 * 15


def test_each_picture_is_encoded_once(mock_cuda: DeviceState, tmp_path: Path) -> None:
    with mock.patch.object(final_pictures, "encode_png", wraps=final_pictures.encode_png) as encode:
        end_of(mock_cuda, "logits:0-4", tmp_path / "run")
    assert encode.call_count == 5


def test_a_stage_ends_with_one_wait_for_the_preview_that_log_and_film_share(
    mock_cuda: DeviceState, tmp_path: Path
) -> None:
    counted = Phases(mock_cuda)
    render(
        load_network("demo"), "logits:0-4", steps=4, out=tmp_path / "run", accelerator="cuda", progress=False,
        callbacks=[counted, ArtifactWriter(), ImageLogger()],
    )  # fmt: skip
    counted.close()
    steps = [counts.without("runs/checkpoints.py") for step, counts in counted.steps.items() if step > 0]
    assert [counts.waits.total() for counts in steps] == [1, 1, 1]
