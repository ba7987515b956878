"""The Python interface."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

import lightning_fv
from lightning_fv.callbacks import PeriodicBlur, ProgressiveUpscale
from lightning_fv.commands.main import main
from lightning_fv.errors import NetworkError, RunFolderError, TargetError, UsageError
from lightning_fv.functional import resize_images
from lightning_fv.objectives import L1, Channel, Logit
from lightning_fv.parameterizations import Fourier, Pixel
from lightning_fv.photos.decode import read_photo
from lightning_fv.runs.record import read_manifest
from lightning_fv.transforms import RandomNoise
from tests.helpers import TinyNet, save_picture, smooth_photos
from tests.processes import pictures


def test_five_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rendering = lightning_fv.render("demo", "logits:pizza+layer4:7", steps=16, progress=False)
    assert rendering.images.shape == (2, 3, 64, 64)
    assert rendering.scores.shape == (2,)
    assert [target.text for target in rendering.targets] == ["logits:pizza", "layer4:7"]
    assert list(tmp_path.iterdir()) == []  # nothing on disk that was not asked for
    folder = rendering.save("pictures")
    assert {p.name for p in folder.iterdir()} >= {"images", "sheet.png", "manifest.jsonl"}
    records = read_manifest(folder / "manifest.jsonl")
    assert [record.score for record in records] == rendering.scores.tolist()
    assert all((folder / str(record.image)).is_file() for record in records)
    with pytest.raises(RunFolderError, match="overwrite=True"):
        rendering.save("pictures")
    html = rendering._repr_html_()
    assert html.count("<img") == 2
    assert "logits:pizza" in html


def test_completion_finds_the_public_names() -> None:
    assert set(lightning_fv.__all__) <= set(dir(lightning_fv))
    assert "importlib" not in dir(lightning_fv)


def test_scores_are_those_of_the_plain_pictures() -> None:
    network = lightning_fv.load_network("demo")
    rendering = lightning_fv.render(network, "logits:0-23", steps=8, progress=False)
    logits = network(rendering.images)
    torch.testing.assert_close(rendering.scores, logits.diagonal(), rtol=1e-4, atol=1e-4)


def test_objectives_of_ones_own() -> None:
    network = lightning_fv.load_network("demo")
    apart = render_pair = lightning_fv.render(network, [Logit(11) - Logit(12)], steps=40, progress=False)
    (logits,) = network(render_pair.images)
    assert float(apart.scores[0]) == pytest.approx(float(logits[11] - logits[12]), rel=1e-4)
    assert apart.targets[0].text == "Logit(11) - Logit(12)"
    assert apart.scores[0] > 5


def test_a_run_folder_as_the_command_line_makes_it(tmp_path: Path) -> None:
    lightning_fv.render("demo", "logits:0-2", steps=4, out=tmp_path / "run", batch_size=2, progress=False)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        ".run", "config.yaml", "gallery.html", "images", "jobs", "manifest.jsonl", "progress.webp", "sheet.png",
    }  # fmt: skip
    assert len(list((tmp_path / "run" / "jobs").iterdir())) == 2


class Interrupt(pl.Callback):
    """Presses Ctrl-C after so many steps of all jobs; once."""

    left = 0

    def settings(self) -> None:
        """None: it changes no picture."""

    def on_train_batch_end(self, *args: object) -> None:
        Interrupt.left -= 1
        if Interrupt.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def pixels(folder: Path) -> dict[str, bytes]:
    return {file.name: Image.open(file).tobytes() for file in (folder / "images").iterdir()}


def tiny() -> lightning_fv.VisionNetwork:
    return lightning_fv.VisionNetwork(TinyNet(), mean=np.full(3, 0.5), std=np.float32([0.2] * 3), input_size=(24, 20))


def test_an_interrupted_run_is_continued_by_the_same_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = ModelCheckpoint(filename="mine-{step}", every_n_train_steps=2, save_top_k=-1)
    options: dict[str, Any] = {
        "targets": ["logits:0-1", Logit(2) - 0.5 * Channel("conv1", 1), "logits:3"], "steps": 8, "batch_size": 2, "seed": np.int64(3),
        "callbacks": [ProgressiveUpscale(to=1.5, every=2, factor=1.3, blur=0.0), user, Interrupt()], "progress": False,
    }  # fmt: skip
    Interrupt.left = 0
    whole = lightning_fv.render(tiny(), out=tmp_path / "whole", **options)
    run, Interrupt.left = tmp_path / "run", 14
    with pytest.raises(KeyboardInterrupt):
        lightning_fv.render(tiny(), out=run, **options)
    (kept,) = run.glob("jobs/*/checkpoints/step=6.ckpt")
    stamps = {file: file.stat().st_mtime_ns for file in run.glob("images/*")}
    assert len(stamps) == 2
    Interrupt.left = 10
    again = lightning_fv.render(tiny(), out=run, **options)
    assert Interrupt.left == 8  # two steps were left
    assert not kept.exists()
    assert len(list(run.glob("jobs/*/model_checkpoints/mine-step=*.ckpt"))) == 8
    assert stamps == {file: file.stat().st_mtime_ns for file in stamps}
    assert pixels(run) == pixels(tmp_path / "whole")
    assert again.scores.tolist() == whole.scores.tolist()
    assert torch.equal(again.images[2:], whole.images[2:])
    read = lightning_fv.render(tiny(), out=run, **options)
    for picture in (again.images[:2], read.images):
        torch.testing.assert_close(picture, whole.images[: len(picture)], rtol=0, atol=0.5 / 255 + 1e-6)
    other = lightning_fv.VisionNetwork(TinyNet(), mean=(0.4,) * 3, std=(0.2,) * 3, input_size=(24, 20))
    for change, told in {
        "seed is 0, in the run 3": {"seed": 0},
        "trainer.max_steps is 9, in the run 8": {"steps": 9},
        "recipe.size is 9, in the run null": {"size": 9},
        r'targets is \["logits:1", "logits:2"\], in the run \["logits:0",': {"targets": ["logits:1-2"]},
        "batch_size is 3, in the run 2": {"batch_size": 3},
        "preparation.mean is": {"network": other},
        "the digest of start is": {"start": torch.zeros(3, 24, 20)},
    }.items():
        with pytest.raises(RunFolderError, match=change) as refused:
            lightning_fv.render(**{"network": tiny(), "out": run, **options, **told})  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
    assert main(["--resume", "--out", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "(the network TinyNet was not loaded by its name); continue it with lightning_fv.render and the same arguments"
        in line
    )


def test_an_interrupted_run_is_continued_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {
        "targets": ["logits:pizza+layer1:3", Logit(2) - 0.5 * Channel("layer1", 1)], "steps": 6, "batch_size": 2, "size": (20, 16),
        "parameterization": Pixel(sd=1), "transforms": [RandomNoise(1)], "penalties": [L1(1)], "callbacks": [PeriodicBlur(2), Interrupt()],
        "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.05), "progress": False,
    }  # fmt: skip
    Interrupt.left = 0
    lightning_fv.render("demo", out=tmp_path / "whole", **options)
    run, Interrupt.left = tmp_path / "run", 9
    with pytest.raises(KeyboardInterrupt):
        lightning_fv.render(lightning_fv.load_network("demo", mean=np.array([0.485, 0.456, 0.406])), out=run, **options)
    assert main(["--resume", "--out", str(run)]) == 0
    assert pixels(run) == pixels(tmp_path / "whole")
    (run / "config.yaml").write_text("[")
    with pytest.raises(RunFolderError, match="truncated or modified"):
        lightning_fv.render("demo", out=run, **{**options, "batch_size": "auto"})


def test_the_training_size_of_a_plain_module(capsys: pytest.CaptureFixture[str]) -> None:
    demo = lightning_fv.load_network("demo")
    options: dict[str, Any] = {"steps": 8, "progress": False, "accelerator": "cpu"}
    own = {"mean": demo.mean, "std": demo.std, **options}
    named = lightning_fv.render("demo", "layer3:5", **options)
    plain = lightning_fv.render(demo.module, "layer3:5", input_size=(64, 64), **own)
    assert torch.equal(plain.images, named.images)
    assert capsys.readouterr().err == ""
    lightning_fv.render(demo.module, "layer3:5", size=64, **own)
    assert "trained at 64x64 px, give input_size=(64, 64)" in capsys.readouterr().err
    lightning_fv.render(demo.module, "layer3:5", size=64, input_size=(224, 224), **own)
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match="input_size and categories are for a plain Module"):
        lightning_fv.render(demo, "layer3:5", input_size=(64, 64))
    square = lightning_fv.render(demo.module, "layer3:5", input_size=64, **own)
    assert torch.equal(square.images, named.images)
    with pytest.raises(NetworkError, match=r"the input size needs a height and a width .* got '64'"):
        lightning_fv.render(demo.module, "layer3:5", input_size="64", **own)  # type: ignore[arg-type]


def test_options_in_conflict() -> None:
    with pytest.raises(UsageError, match="ModelCheckpoint needs a folder to save in"):
        lightning_fv.render("demo", "logits:0", callbacks=ModelCheckpoint())
    with pytest.raises(UsageError, match="not both"):
        lightning_fv.render("demo", "logits:0", visualizer=lightning_fv.FeatureVisualizer(), size=20)
    with pytest.raises(UsageError, match="brings its own"):
        lightning_fv.render("demo", "logits:0", mean=(0, 0, 0), std=(1, 1, 1))


def test_weights_are_bit_equal_after_a_run() -> None:
    network = lightning_fv.load_network("demo")
    before = network.digest()
    lightning_fv.render(network, "logits:0-3+layer2:1", steps=4, progress=False)
    assert network.digest() == before
    assert not any(module._forward_hooks for module in network.module.modules())


def test_signal_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    lightning_fv.render("demo", "logits:0", steps=2, progress=False)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_growth_that_cannot_end_is_said() -> None:
    with pytest.warns(UserWarning, match="reaches 35 px in 5 steps, not 60 px"):
        lightning_fv.render("demo", "logits:0", steps=5, size=32, progress=False,
                            callbacks=[ProgressiveUpscale(to=60, every=4)])  # fmt: skip


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([Logit(99)], "reads what does not exist"),
        (None, "targets are text"),
        ([Channel("layer4", 256)], "reads what does not exist"),
    ],
)
def test_objectives_that_read_what_is_not_there(targets: object, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        lightning_fv.render("demo", targets, steps=1, progress=False)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="start at 0, got -1"):
        Channel("layer4", -1)


def test_networks_that_cannot_be_looked_at() -> None:
    with pytest.raises(UsageError, match="not an object of type int"):
        lightning_fv.render(3, "logits:0", progress=False)  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=r"call \.float\(\)"):
        lightning_fv.VisionNetwork(torch.nn.Linear(3, 3).double(), mean=(0.5,) * 3, std=(0.2,) * 3)


def test_accumulated_batches_have_draws_of_their_own() -> None:
    network = lightning_fv.load_network("demo")
    bound = lightning_fv.FeatureVisualizer().bind(network, lightning_fv.resolve_targets("logits:0", network))
    seen: list[torch.Tensor] = []
    inner = bound.transform

    def watch(images: torch.Tensor, step: int) -> torch.Tensor:
        seen.append(inner(images, step).detach())
        return inner(images, step)

    bound.transform = watch  # type: ignore[method-assign]
    trainer = pl.Trainer(max_steps=1, max_epochs=-1, accumulate_grad_batches=2, accelerator="cpu", logger=False,
                         enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    bound.stage_steps = 4
    trainer.fit(bound)
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])


def test_scalars_may_be_left_out() -> None:
    """As Lightning has it: every 0 steps is never."""
    trainer = pl.Trainer(max_steps=2, max_epochs=-1, log_every_n_steps=0, accelerator="cpu", logger=False,
                         enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    network = lightning_fv.load_network("demo")
    trainer.fit(lightning_fv.FeatureVisualizer().bind(network, lightning_fv.resolve_targets("logits:0", network)))
    assert trainer.global_step == 2


def test_pictures_to_start_from() -> None:
    start = smooth_photos(24, 20)
    still: dict[str, Any] = {
        "steps": 1, "transforms": [], "progress": False, "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-30),
    }  # fmt: skip
    for parameterization in (Fourier(), Pixel(decorrelate=True)):
        shown = lightning_fv.render(tiny(), "logits:0-1", start=start, parameterization=parameterization, **still)
        torch.testing.assert_close(shown.images, start, rtol=0, atol=0.06)  # Fourier leaves out the Nyquist frequencies
    (one,) = lightning_fv.render(tiny(), "logits:0", start=start[0].double(), size=(12, 10), **still).images
    torch.testing.assert_close(one, resize_images(start[:1], (12, 10))[0], rtol=0, atol=0.06)
    visualizer = lightning_fv.FeatureVisualizer(transforms=[], optimizer=still["optimizer"])
    both = lightning_fv.render(tiny(), "logits:0-1", start=start[:1], steps=1, visualizer=visualizer, progress=False)
    assert both.images.shape == (2, 3, 24, 20)
    assert visualizer.asked_size is None
    torch.testing.assert_close(both.images[0], both.images[1])
    grown = lightning_fv.render(
        tiny(), "logits:0-1", start=start, progress=False, steps=4, batch_size=1, seed=1,
        callbacks=[ProgressiveUpscale(to=48, every=1, factor=2.0)],
    )  # fmt: skip
    assert grown.images.shape == (2, 3, 48, 40)
    assert float((resize_images(grown.images, (24, 20)) - start).abs().mean()) < 0.2
    for wrong, told in (
        (start.repeat(2, 1, 1, 1), "start has 4 pictures for 2 targets"),
        (start * 255, "values from .* give numbers in"),
        ((start * 255).byte(), "torch.uint8 values"),
        (start * torch.nan, "give numbers in"),
        (start[:, :1], r"start is a tensor \(2, 1, 24, 20\), and the network takes pictures \(B, 3, H, W\)"),
        (start.numpy(), "start is a ndarray"),
    ):
        with pytest.raises(UsageError, match=told):
            lightning_fv.render(tiny(), "logits:0-1", start=wrong, progress=False)  # type: ignore[arg-type]


def test_photos_to_start_from(tmp_path: Path) -> None:
    for number, picture in enumerate(smooth_photos(80, 90)):
        save_picture(tmp_path / f"{number}.png", picture)
    files: list[str | Path] = [tmp_path / "0.png", str(tmp_path / "1.png")]
    still: dict[str, Any] = {"steps": 1, "transforms": [], "progress": False, "optimizer": _Still}
    for start, count in ((files, 2), (files[:1], 1), (files[0], 1), (tuple(files), 2)):
        shown = lightning_fv.render("demo", "logits:0-1", start=start, parameterization=Pixel(), **still)
        given = torch.stack([read_photo(file, (64, 64)) for file in files[:count]]) / 255
        torch.testing.assert_close(shown.images, given.expand(2, -1, -1, -1), rtol=0, atol=0.02)
        assert [photo["photo"] for photo in shown.recipe["start"]] == ["0.png", "1.png"][:count]
    small = lightning_fv.render("demo", "logits:0", start=files[0], size=(20, 30), **still)
    assert small.images.shape == (1, 3, 20, 30)
    for wrong, told in (
        (tmp_path / "none.png", "none.png: no such file"),
        ([*files, files[0]], "start has 3 pictures for 2 targets"),
        ([], "start is a list of nothing"),
        ([torch.zeros(3, 4, 4)], "start is a list of Tensor"),
    ):
        with pytest.raises(UsageError, match=told):
            lightning_fv.render("demo", "logits:0-1", start=wrong, progress=False)  # type: ignore[arg-type]


class _Still(torch.optim.SGD):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=1e-30)


def test_the_command_line_continues_a_run_from_photos_without_them(tmp_path: Path) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "run"
    save_picture(photo, smooth_photos(80, 90)[0])
    lightning_fv.render(
        "demo", "logits:0-1", start=photo, out=out, steps=2, batch_size=1, accelerator="cpu", progress=False
    )
    whole = pictures(out)
    photo.unlink()
    for file in [*out.glob("jobs/*/done.jsonl"), *out.glob("images/*")]:
        file.unlink()
    assert main(["--resume", "--out", str(out)]) == 0
    assert pictures(out) == whole


def test_a_dead_unit_that_starts_from_a_picture_restarts_from_noise() -> None:
    network = tiny()
    with torch.no_grad():
        network.module.conv2.weight[0], network.module.conv2.bias[0] = 0, 0
    start = smooth_photos(24, 20)[:1]
    dead = lightning_fv.render(network, "logits:0", start=start, steps=20, transforms=[], progress=False)
    assert dead.records[0].status == "dead"
    assert float((dead.images - start).abs().mean()) > 0.1
