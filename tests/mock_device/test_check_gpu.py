"""scripts/check_gpu.py, the checks for the day that a GPU is at hand, on the mock device."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.mock_device.tensors import DeviceState

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import check_gpu
import gpu_checks
from gpu_checks import Figures, Scale

TINY = Scale(network="demo", sizes=(32,), batches=(4,), steps=32, rounds=2, length=20, killed=60, memory=(16, 64))
NO_KERNELS = {"job, busy at 32 px x 4"}
"""What the mock device cannot have."""


@pytest.fixture(autouse=True)
def command_on_the_mock_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "COMMAND", [sys.executable, "-m", "tests.mock_device.main"])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(check_gpu, "ACTIVITIES", [torch.profiler.ProfilerActivity.CPU])  # the other asks the driver


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_checks_pass(mock_cuda: DeviceState, tmp_path: Path) -> None:
    results = check_gpu.run(TINY, tmp_path / "check.json")
    assert json.loads((tmp_path / "check.json").read_text()) == results
    found = results["checks"]
    assert found.keys() == {*check_gpu.checks(TINY), *check_gpu.NOT_IMPLEMENTED}
    failed = {name: entry for name, entry in found.items() if entry["status"] == "failed"}
    assert failed.keys() == NO_KERNELS, failed
    assert failed["job, busy at 32 px x 4"]["error"] == "the profiler saw no kernel"
    assert {entry["status"] for name, entry in found.items() if name not in failed} == {"ok", "not implemented"}


@pytest.mark.slow
def test_replayed_steps_are_checked_and_timed(mock_cuda: DeviceState, tmp_path: Path) -> None:
    assert check_gpu.run(TINY, tmp_path / "check.json", only="graphs")["checks"]["graphs"]["status"] == "ok"
    found = check_gpu.run(TINY, tmp_path / "check.json", only="speed, 32 px x 4, fp32")["checks"]
    figures = found["speed, 32 px x 4, fp32"]["figures"]
    assert {"step ms", "block ms", "graph ms", "bare ms", "graph / bare"} <= figures.keys()


def test_the_others_go_on_after_a_failure(
    mock_cuda: DeviceState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(scale: Scale) -> Figures:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def wrong(scale: Scale) -> Figures:
        gpu_checks.require(False, "two and two are five", {"sum": 5})
        return {}

    flows: dict[str, Any] = {"full": full, "wrong": wrong, "right": lambda scale: {"sum": 4}}
    monkeypatch.setattr(check_gpu, "FLOWS", flows)
    found = check_gpu.run(TINY, tmp_path / "check.json", only="flow")["checks"]
    assert found["flow, full"]["error"] == "OutOfMemoryError: CUDA out of memory"
    assert "full" in found["flow, full"]["trace"]
    assert (found["flow, wrong"]["error"], found["flow, wrong"]["figures"]) == ("two and two are five", {"sum": 5})
    assert (found["flow, right"]["status"], found["flow, right"]["figures"]) == ("ok", {"sum": 4})
    assert "two and two are five" in capsys.readouterr().out


def test_figures_are_put_into_the_document(tmp_path: Path) -> None:
    known = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    (doc := tmp_path / "doc.md").write_text(known)
    results = {
        "environment": {"device": "Some GPU", "torch": "2", "network": "demo"},
        "checks": {
            "speed": {"status": "ok", "figures": {"step ms": 1.23456}},
            "growth": {"status": "failed", "error": "a|b\nc"},
            "speed, CUDA graph": {"status": "not implemented"},
        },
    }
    check_gpu.write_figures(results, doc)
    written = doc.read_text()
    assert "Not measured yet" not in written
    rows = [
        "| speed | ok | step ms 1.235 |",
        "| growth | failed | a\\|b |",
        "| speed, CUDA graph | not implemented |  |",
    ]
    assert "\n".join(rows) in written
    for kept in (known.partition(check_gpu.BEGIN)[0], known.partition(check_gpu.END)[2]):
        assert kept
        assert kept in written
    check_gpu.write_figures(results, doc)  # replaces its own
    assert doc.read_text() == written
    doc.write_text("no marks")
    with pytest.raises(ValueError, match="does not hold the lines"):
        check_gpu.write_figures(results, doc)


def test_what_no_time_is_left_for_is_written_down(
    mock_cuda: DeviceState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_gpu, "FLOWS", {"right": lambda scale: {}})
    found = check_gpu.run(TINY, tmp_path / "check.json", only="flow", minutes=-1)["checks"]
    assert found["flow, right"]["status"] == "not run"


def test_other_pictures_than_on_the_cpu_fail(mock_cuda: DeviceState, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = gpu_checks.demo

    def noisy(*args: Any, accelerator: str, **options: Any) -> Any:
        rendering = demo(*args, accelerator=accelerator, **options)
        if accelerator == "cuda":
            rendering.images[0, 0, 0, 0] += 0.01
        return rendering

    monkeypatch.setattr(gpu_checks, "demo", noisy)
    with pytest.raises(gpu_checks.CheckError, match="4 steps, seed 0: pixels differ"):
        gpu_checks.same_as_cpu(replace(TINY, length=1))


def test_a_wait_in_a_step_fails(mock_cuda: DeviceState, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_fv import FeatureVisualizer

    loss = FeatureVisualizer.loss

    def waiting(visualizer: FeatureVisualizer, step: int, draw: int) -> torch.Tensor:
        value = loss(visualizer, step, draw)
        value.item()
        return value

    monkeypatch.setattr(FeatureVisualizer, "loss", waiting)
    with pytest.raises(Exception, match="synchronizing CUDA operation"):
        gpu_checks.waits_in_steps(TINY)


def test_waits_for_each_picture_at_the_end_fail(mock_cuda: DeviceState, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_fv.optimization.final_pictures import FinalPictures

    made = FinalPictures.__init__

    def waiting(pictures: FinalPictures, visualizer: Any) -> None:
        made(pictures, visualizer)
        for picture in visualizer.parameterization():
            picture.sum().item()

    monkeypatch.setattr(FinalPictures, "__init__", waiting)
    with pytest.raises(gpu_checks.CheckError, match="grow with the number of pictures"):
        gpu_checks.waits_at_the_end(TINY)


def test_each_precision_is_that_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool, bool]] = []
    step = check_gpu.FeatureVisualizer.training_step

    def noted(visualizer: Any, *args: Any) -> Any:
        tf32 = torch.backends.cudnn.allow_tf32
        seen.append((torch.get_float32_matmul_precision(), tf32, torch.is_autocast_enabled("cpu")))
        return step(visualizer, *args)

    monkeypatch.setattr(check_gpu.FeatureVisualizer, "training_step", noted)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for kind in check_gpu.PRECISIONS:
        with gpu_checks.precision(kind) as options:
            check_gpu.render_steps(TINY.load(), "logits:0", 16, 1, check_gpu.Clock(torch.device("cpu")), **options)
    assert seen == [("highest", False, False), ("high", True, False), ("high", True, True)]
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
