"""Pictures during somebody's training: that they come, and that the training does not notice."""

import io
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import lightning_fv
from lightning_fv import FeatureVisualizer, VisionNetwork, VisualizeDuringTraining
from lightning_fv.errors import (
    FeatureVisualizationError,
    LayerNotFoundError,
    NetworkError,
    RunFolderError,
    TargetError,
    UsageError,
)
from lightning_fv.functional import to_uint8
from lightning_fv.objectives import Logit
from lightning_fv.report import read_picture, write_gallery
from lightning_fv.transforms import KeyedTransform
from tests.faults.test_process_state import same, snapshot
from tests.helpers import TinyNet
from tests.processes import SECONDS, Process, run_python

SIZE = (16, 20)
INPUT: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "input_size": SIZE}


class Photos(Dataset[tuple[Tensor, int]]):
    """Noise of five classes, other noise in each epoch, drawn in the loader's workers."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(3, *SIZE) + index % 5, index % 5


class Classifier(pl.LightningModule):
    """A training that depends on all random generators, with batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.model: nn.Module = TinyNet()
        self.dropout = nn.Dropout(0.3)
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        images = images * random.uniform(0.9, 1.1) + np.random.uniform(-0.1, 0.1)
        loss = nn.functional.cross_entropy(self.model(self.dropout(images)), labels)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", nn.functional.cross_entropy(self.model(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def quick(targets: Any = "logits:0-1+conv1:2", **options: Any) -> VisualizeDuringTraining:
    return VisualizeDuringTraining(targets, **{"steps": 2, **INPUT, **options})


def train(
    folder: Path,
    *callbacks: pl.Callback,
    module: pl.LightningModule | None = None,
    epochs: int = 3,
    checkpoint: Path | None = None,
    **options: Any,
) -> pl.Trainer:
    """A training of somebody's, from fixed seeds."""
    pl.seed_everything(7, verbose=False)
    module = Classifier() if module is None else module
    if "logger" not in options:
        options["logger"] = TensorBoardLogger(folder, name="", version="logs")
    options = {
        "accelerator": "cpu",
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        **options,
    }
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), enable_model_summary=False, enable_progress_bar=False,
        log_every_n_steps=1, default_root_dir=folder, **options,
    )  # fmt: skip
    workers = options.get("strategy", "auto") == "auto"
    photos = DataLoader(Photos(), batch_size=4, shuffle=True, num_workers=int(workers))
    trainer.fit(module, photos, DataLoader(Photos(), batch_size=12), ckpt_path=checkpoint)
    return trainer


def end(trainer: pl.Trainer) -> dict[str, Any]:
    """Everything that a training ends in."""
    module = trainer.lightning_module
    assert isinstance(module, Classifier)
    return {
        "weights": plain(module.state_dict()),
        "optimizer": plain([optimizer.state_dict() for optimizer in trainer.optimizers]),
        "losses": module.losses,
        "loss": float(trainer.callback_metrics["loss"]),
        "random": (random.getstate(), plain(np.random.get_state()), torch.get_rng_state().tolist()),
        "requires_grad": [parameter.requires_grad for parameter in module.parameters()],
        "training": [part.training for part in module.modules()],
    }


def plain(value: Any) -> Any:
    """Tensors and arrays as lists, which compare by their bits."""
    if isinstance(value, Tensor | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def shown(folder: Path, tag: str = "feature_visualization") -> dict[int, np.ndarray]:
    """The sheets in the logs, by step."""
    read = EventAccumulator(str(folder / "logs"), size_guidance={"images": 0})
    read.Reload()
    if tag not in read.Tags()["images"]:
        return {}
    images = [(event.step, Image.open(io.BytesIO(event.encoded_image_string))) for event in read.Images(tag)]
    return {step: np.array(image) for step, image in images}


class Draws(KeyedTransform):
    """A part of a recipe that draws from the generators of the process."""

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return images + 0.01 * (random.random() + np.random.random() + torch.rand(1))

    def settings(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    "options", [{}, {"precision": "bf16-mixed", "accumulate_grad_batches": 4, "gradient_clip_val": 0.1}], ids=["plain", "bf16"]
)  # fmt: skip
def test_a_training_ends_in_the_same_bits_as_without(tmp_path: Path, options: dict[str, Any]) -> None:
    callback = quick(visualizer=FeatureVisualizer(transforms=[Draws()]))
    alone = end(train(tmp_path / "alone", **options))
    same(alone, end(train(tmp_path / "watched", callback, **options)))
    assert len(set(alone["losses"])) == 18
    assert list(shown(tmp_path / "watched")) == [0, 1, 2]


class Look(pl.Callback):
    """Looks at everything that a render must leave alone, before or after it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gradients = [(id(parameter.grad), plain(parameter.grad)) for parameter in pl_module.parameters()]
        self.seen.append({**snapshot(pl_module), "gradients": gradients, "trainer": id(pl_module.trainer)})


def test_nothing_changes_in_the_process_and_the_network(tmp_path: Path) -> None:
    class Accumulates(Classifier):
        """Has gradients at the end of an epoch, as in manual optimization."""

        def on_train_batch_end(self, *args: Any) -> None:
            for parameter in self.parameters():
                parameter.grad = torch.full_like(parameter, 0.5)

        def on_validation_model_zero_grad(self) -> None:
            """Keeps them."""

    before, after = Look(), Look()
    module = Accumulates()
    module.model.get_submodule("conv1").requires_grad_(False)
    module.model.get_submodule("conv2").register_forward_hook(lambda *_: None)
    train(tmp_path, before, quick(), after, module=module)
    assert len(before.seen) == 3
    for ahead, behind in zip(before.seen[1:], after.seen[1:], strict=True):  # the first render imports and caches
        same(ahead, behind)
        assert all(values is not None for _, values in ahead["gradients"])


def test_the_pictures_are_those_of_render(tmp_path: Path) -> None:
    recipe = FeatureVisualizer(size=(18, 24))
    categories = tuple("abcde")
    options: dict[str, Any] = {"steps": 20, "seed": 3, "visualizer": recipe, "batch_size": 2, "callbacks": [Grow()]}
    targets = ["logits:b", Logit(2) - 0.5 * Logit(0), "conv1:3"]
    out = tmp_path / "out"
    trainer = train(tmp_path, quick(targets, categories=categories, out=out, every_n_epochs=2, **options), epochs=4)
    assert [folder.name for folder in sorted(out.iterdir())] == ["epoch_0001", "epoch_0003"]
    module = trainer.lightning_module
    network = VisionNetwork(module.get_submodule("model"), **INPUT, categories=categories)
    rendering = lightning_fv.render(network, targets, progress=False, accelerator="cpu", **options)
    assert rendering.images.shape == (3, 3, 20, 27)
    for picture in rendering:
        earlier, last = (
            np.array(read_picture(out / epoch / "images" / f"{picture.record.id}.png"))
            for epoch in ("epoch_0001", "epoch_0003")
        )
        assert np.array_equal(last, to_uint8(picture.image).permute(1, 2, 0).numpy())
        assert not np.array_equal(last, earlier)
    logged = shown(tmp_path)
    assert list(logged) == [1, 3]
    for epoch, sheet in logged.items():
        assert np.array_equal(sheet, np.array(read_picture(out / f"epoch_{epoch:04}" / "sheet.png")))
    assert write_gallery(sorted(out.iterdir())) == out / "gallery.html"


class Grow(pl.Callback):
    """Makes the pictures larger, once for each object: a copy that has run is not fresh."""

    def __init__(self) -> None:
        self.grown = 1.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == 10:
            self.grown += 1 / 9
            height, width = pl_module.start_size
            pl_module.resize((round(height * self.grown), round(width * self.grown)))


def test_a_training_is_resumed_with_and_without(tmp_path: Path) -> None:
    whole = end(train(tmp_path / "whole", epochs=4))

    def halves(name: str, *callbacks: pl.Callback) -> dict[str, Any]:
        saver = ModelCheckpoint(tmp_path / name, filename="half", save_top_k=-1)
        train(tmp_path / name, saver, *callbacks, epochs=2)
        return end(train(tmp_path / name, *callbacks, epochs=4, checkpoint=tmp_path / name / "half.ckpt"))

    alone, watched = halves("alone"), halves("watched", quick(out=tmp_path / "out"))
    same(alone, watched)
    assert whole["weights"].keys() == alone["weights"].keys()
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == [f"epoch_000{n}" for n in range(4)]
    assert sorted(shown(tmp_path / "watched")) == [0, 1, 2, 3]
    # An epoch that is trained again keeps both.
    checkpoint = tmp_path / "watched" / "half.ckpt"
    train(tmp_path / "again", quick(out=tmp_path / "out"), epochs=3, checkpoint=checkpoint)
    assert (tmp_path / "out" / "epoch_0002-v1" / "sheet.png").is_file()
    saved = torch.load(checkpoint, weights_only=True)
    assert "VisualizeDuringTraining" not in str(saved["callbacks"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"targets": "logits:9"}, TargetError, "'logits:9': logits has units 0 to 4"),
        ({"targets": "conv3:0"}, LayerNotFoundError, "no layer 'conv3' in the network; did you mean conv2, conv1?"),
        ({"out": __file__}, RunFolderError, "is a file; choose another folder"),
        ({"network": "modle"}, UsageError, "Classifier has no module 'modle'; choose one that it has, such as model"),
        ({"input_size": (1, 1), "targets": "conv1:0@3,3"}, FeatureVisualizationError, "conv1:0@3,3"),
        ({"mean": (0.5,)}, NetworkError, "mean and std need a number each"),
        ({"steps": 0}, UsageError, "at least 1, got 0"),
        ({"visualizer": FeatureVisualizer(optimizer=lambda p: torch.optim.SGD(p, lr=-1.0))}, UsageError, "learning rate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_before_the_first_step(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    module = Classifier()
    with pytest.raises(error) as told:
        train(tmp_path, quick(**options), module=module)
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert module.losses == []


def test_epochs_between_renders_must_be_one_or_more() -> None:
    with pytest.raises(UsageError, match="every_n_epochs must be at least 1, got 0"):
        quick(every_n_epochs=0)


def test_a_network_that_is_divided_is_refused(tmp_path: Path) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer._accelerator_connector.strategy = FSDPStrategy(process_group_backend="gloo")
    with pytest.raises(UsageError, match=r"FSDPStrategy divides it; train on one device or with the strategy ddp"):
        quick().on_fit_start(trainer, Classifier())


class Several(Classifier):
    """Two modules with parameters, and a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.model(images))
        return logits


def test_the_network_is_the_only_child_with_parameters_or_the_module_itself(tmp_path: Path) -> None:
    class Silent(Several):
        forward = pl.LightningModule.forward

    train(tmp_path / "itself", quick("logits:3+model.conv1:2+head:1"), module=Several(), epochs=1)
    assert len(shown(tmp_path / "itself")) == 1
    train(tmp_path / "named", quick("logits:4+conv1:2", network="model"), module=Silent(), epochs=1)
    assert len(shown(tmp_path / "named")) == 1
    with pytest.raises(
        UsageError, match="Silent has no forward; give the name of its network: network= one of model, head"
    ):
        train(tmp_path / "silent", quick(), module=Silent())


def test_a_render_that_fails_is_one_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    class Removes(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                del pl_module.model[1]

    module = Classifier()
    module.model = nn.Sequential(module.model, nn.Identity())
    trainer = train(tmp_path, Removes(), quick("1:2"), module=module, epochs=4)
    assert trainer.current_epoch == 4
    (told,) = [str(warning.message) for warning in recwarn if "no pictures" in str(warning.message)]
    assert told.startswith("no pictures of epoch 1, and the training goes on (LayerNotFoundError: no layer '1' in the")
    assert list(shown(tmp_path)) == [0]


def test_one_callback_in_several_trainings(tmp_path: Path) -> None:
    callback = quick(target for target in ["logits:0", "conv1:2"])
    callback._group = "that of a training on several ranks, which was interrupted"
    for name in ("first", "second"):
        train(tmp_path / name, callback)
    first, second = shown(tmp_path / "first"), shown(tmp_path / "second")
    assert list(first) == list(second) == [0, 1, 2]
    assert all(np.array_equal(first[epoch], second[epoch]) for epoch in first)


def test_weights_of_nan_do_not_end_the_training(tmp_path: Path) -> None:
    class Breaks(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                pl_module.model.conv1.weight.data.fill_(torch.nan)

    trainer = train(tmp_path, Breaks(), quick(out=tmp_path / "out"))
    assert trainer.current_epoch == 3
    assert list(shown(tmp_path)) == [0, 1, 2]
    manifest = (tmp_path / "out" / "epoch_0002" / "manifest.jsonl").read_text()
    assert manifest.count('"diverged"') == 3


class Takes(Logger):
    """A logger with WandbLogger's method for pictures."""

    name, version, experiment = "takes", 0, None

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, list[Any], int]] = []

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Not looked at."""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Not looked at."""

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        assert step is not None
        self.images.append((key, images, step))


def test_other_loggers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes, board = Takes(), TensorBoardLogger(tmp_path, name="", version="logs")
    train(tmp_path, quick(tag="units"), logger=[takes, board, CSVLogger(tmp_path / "csv")], epochs=2)
    assert [(key, step) for key, _, step in takes.images] == [("units", 6), ("units", 12)]
    sheets = shown(tmp_path, "units")
    assert [np.array_equal(np.array(images[0]), sheets[n]) for n, (_, images, _) in enumerate(takes.images)] == [
        True
    ] * 2
    assert "VisualizeDuringTraining" not in capsys.readouterr().err
    table = CSVLogger(tmp_path / "csv")
    train(tmp_path, quick(out=tmp_path / "out"), logger=table, epochs=2)
    assert capsys.readouterr().err.count(f"are in {tmp_path / 'out'} alone: CSVLogger takes none") == 1
    with pytest.warns(UserWarning, match="nothing is rendered; use a TensorBoardLogger, or give out=FOLDER"):
        train(tmp_path, quick(), logger=table, epochs=1)


def test_without_a_place_for_the_pictures_nothing_is_rendered(tmp_path: Path) -> None:
    class Counts(pl.Callback):
        fits = 0

        def on_fit_start(self, *args: Any) -> None:
            Counts.fits += 1

        def settings(self) -> None:
            """None: it changes no picture."""

    with pytest.warns(UserWarning, match="nothing is rendered; use a TensorBoardLogger, or give out=FOLDER"):
        train(tmp_path, quick(callbacks=[Counts()]), logger=False, epochs=1)
    assert Counts.fits == 0
    train(tmp_path, quick(callbacks=[Counts()], out=tmp_path / "out"), logger=False, epochs=1)
    assert Counts.fits == 1
    assert (tmp_path / "out" / "epoch_0000" / "sheet.png").is_file()


class Sends(pl.Callback):
    """Sends this process a signal in a render."""

    def __init__(self, number: int) -> None:
        self.number = number

    def settings(self) -> None:
        """None: it changes no picture."""

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == 3:
            signal.raise_signal(self.number)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, SIGTERMException), (signal.SIGINT, SystemExit)])
def test_a_signal_ends_the_render_and_then_the_training(
    tmp_path: Path, number: signal.Signals, ends: type[BaseException]
) -> None:
    """As Lightning ends a training: SIGTERM after the epoch, Ctrl-C at once."""
    module, out = Classifier(), tmp_path / "out"
    start = time.monotonic()
    with pytest.raises(ends):
        train(tmp_path, quick(callbacks=[Sends(number)], steps=10**6, out=out), module=module)
    assert time.monotonic() - start < SECONDS
    assert len(module.losses) == 6
    assert not out.exists()


OTHER_PACKAGE = """
import sys
from torch.utils.data import DataLoader
from tests.test_during_training import Classifier, Photos, quick
import pytorch_lightning  # after this one's: from now on, its loggers are those of both

class Other(pytorch_lightning.LightningModule):
    training_step, configure_optimizers = Classifier.training_step, Classifier.configure_optimizers

module, classifier = Other(), Classifier()
module.model, module.dropout, module.losses = classifier.model, classifier.dropout, []
logger = pytorch_lightning.loggers.TensorBoardLogger(sys.argv[1], name="", version="logs")
options = {"accelerator": "cpu", "enable_progress_bar": False, "enable_checkpointing": False}
trainer = pytorch_lightning.Trainer(max_epochs=2, callbacks=[quick()], logger=logger, log_every_n_steps=1, **options)
trainer.fit(module, DataLoader(Photos(), batch_size=4))
"""


def test_a_trainer_of_the_package_pytorch_lightning(tmp_path: Path) -> None:
    """`lightning.pytorch` under its older name: other classes, the same methods."""
    process = run_python("-c", OTHER_PACKAGE, tmp_path)
    assert process.returncode == 0, process.error_output
    assert list(shown(tmp_path)) == [0, 1]
    assert process.error_output.count("Trainer.fit` stopped") == 1  # the training's own


def in_a_module(module: Classifier) -> Classifier:
    module.model = torch.compile(module.model, backend="eager")
    return module


def in_place(module: Classifier) -> Classifier:
    module.model.compile(backend="eager")
    return module


def as_a_whole(module: Classifier) -> Classifier:
    return torch.compile(module, backend="eager")  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("compiled", "kind", "target"),
    [
        (in_a_module, Classifier, "conv1:2"),
        (in_place, Classifier, "conv1:2"),
        (in_place, Several, "model.conv1:2"),
        (as_a_whole, Several, "model.conv1:2"),
    ],
)
def test_compiled_networks(
    tmp_path: Path, compiled: Callable[[Classifier], Classifier], kind: type[Classifier], target: str
) -> None:
    alone = end(train(tmp_path / "alone", module=compiled(kind())))
    trainer = train(tmp_path / "watched", quick(target, out=tmp_path / "out"), module=compiled(kind()))
    same(alone, end(trainer))
    assert len(shown(tmp_path / "watched")) == 3
    module = trainer.lightning_module
    assert hasattr(module.model, "_orig_mod") == (compiled is in_a_module)
    assert (module.model._compiled_call_impl is not None) == (compiled is in_place)
    assert hasattr(module.forward, "_torchdynamo_orig_callable") == (compiled is as_a_whole)
    train(tmp_path / "plain", quick(target, out=tmp_path / "plain_out"), module=kind())
    sheets = [read_picture(tmp_path / out / "epoch_0002" / "sheet.png").tobytes() for out in ("out", "plain_out")]
    assert sheets[0] == sheets[1]


def test_a_compiled_module_inside_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="OptimizedModule in Several is compiled, so that its layers cannot be seen"):
        train(tmp_path, quick(), module=in_a_module(Several()))


RANKS = """
import os, sys, time
from datetime import timedelta
from pathlib import Path
import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning_fv import FeatureVisualizer
from tests.test_during_training import Classifier, Draws, Sends, end, quick, train

class Slow(Draws):
    def forward(self, images, uniforms):
        time.sleep(1)
        return super().forward(images, uniforms)

if __name__ == "__main__":
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    callbacks = []
    if kind == "watched":  # a render takes longer than a collective may
        slow = FeatureVisualizer(transforms=[Slow()])
        callbacks = [quick("logits:0", visualizer=slow, steps=int(sys.argv[3]) + 15, every_n_epochs=2, out=folder / "out")]
    if kind == "stopped":
        callbacks = [quick("logits:0", steps=10**6, callbacks=[Sends(int(sys.argv[3]))])]
    if kind == "bad":
        callbacks = [quick("logits:9")]
    strategy = DDPStrategy(timeout=timedelta(seconds=int(sys.argv[3]))) if kind == "watched" else "ddp"
    trainer = train(folder, *callbacks, strategy=strategy, devices=2)
    torch.save(end(trainer), folder / f"{kind}_{trainer.global_rank}.pt")
"""


@pytest.fixture
def ranks(tmp_path: Path) -> Callable[..., Process]:
    """Runs a training on two ranks; returns the process."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    return lambda *words: run_python(script, tmp_path, *words, MASTER_PORT=None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ranks_end_in_the_same_bits_and_wait_for_the_first(tmp_path: Path, ranks: Callable[..., Process]) -> None:
    for words in (["alone"], ["watched", 40]):
        process = ranks(*words)
        assert process.returncode == 0, process.error_output
    found = {name: torch.load(tmp_path / f"{name}.pt") for name in ("alone_0", "alone_1", "watched_0", "watched_1")}
    assert found["alone_0"]["weights"] == found["alone_1"]["weights"]
    assert found["alone_0"]["losses"] != found["alone_1"]["losses"]
    for rank in (0, 1):
        same(found[f"alone_{rank}"], found[f"watched_{rank}"])
    assert list(shown(tmp_path)) == [1]
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["epoch_0001"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_rank_that_renders_ends_all(
    tmp_path: Path, ranks: Callable[..., Process], number: signal.Signals
) -> None:
    process = ranks("stopped", int(number))
    assert process.returncode == (1 if number == signal.SIGINT else 0), process.error_output  # Lightning's
    assert not list(tmp_path.glob("*.pt"))
    assert shown(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_bad_target_ends_all_ranks(ranks: Callable[..., Process]) -> None:
    process = ranks("bad")
    assert process.returncode == 1
    assert "'logits:9': logits has units 0 to 4" in process.error_output
