"""What belongs to the whole process, or to the network's owner, is after a render as before, however it ends."""

import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn

from lightning_fv import FeatureVisualizer, Rendering, load_network, render, resolve_targets
from lightning_fv.commands.main import main
from lightning_fv.errors import FeatureVisualizationError, NetworkError, UsageError
from lightning_fv.objectives import Objective, Penalty
from lightning_fv.objectives.base import Activations
from lightning_fv.parameterizations import Pixel
from lightning_fv.transforms import KeyedTransform
from tests.functional.test_modes import MODES
from tests.helpers import TinyNet

STEPS = 2

HOOKS = [
    "setup",
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
    "teardown",
]
"""Those of Lightning's Callback that a fit calls, besides those for checkpoints and exceptions."""


def tiny(module: nn.Module, targets: Any = "logits:0", **options: Any) -> Rendering:
    """A render of 16x20 px, in two steps."""
    recipe = options.pop("visualizer", None) or FeatureVisualizer(Pixel(), transforms=[], size=(16, 20))
    quick = {"steps": STEPS, "progress": False, "mean": (0.5,) * 3, "std": (0.2,) * 3, "accelerator": "cpu"}
    return render(module, targets, visualizer=recipe, **{**quick, **options})


def owned() -> nn.Module:
    """A network in the hands of someone who trains it: half of it frozen, its weights a view of one flat tensor."""
    module = TinyNet().train()
    module.bn.eval()
    module.conv1.weight.requires_grad_(False)
    module.register_buffer("filter", torch.rand(8, 8, 3, 3))
    flat = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    start = 0
    for parameter in module.parameters():
        parameter.data = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return module


def tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Everything that a render must leave alone; of the objects that a person may hold, also which ones they are."""
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    loggers = [logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict) if "lightning" in name]
    kernel = Path("/proc/self/status")  # also signal handlers that Python does not know of
    masks = (
        [line for line in kernel.read_text().splitlines() if line.startswith(("SigIgn", "SigCgt"))]
        if kernel.exists()
        else []
    )
    return {
        "handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "kernel": masks,
        "descriptor": descriptor,
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "defaults": (torch.get_default_dtype(), torch.empty(0).device, torch.get_num_threads()),
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in module.modules()],
        "training": [m.training for m in module.modules()],
        "tensors": [
            (name, id(tensor), tensor.data_ptr(), tensor.stride(), tensor.device, tensor.requires_grad, tensor._version)
            for name, tensor in tensors(module)
        ],
        "values": [tensor.detach().clone().flatten().tolist() for _, tensor in tensors(module)],
        "warnings": (list(warnings.filters), warnings.showwarning),
        "logs": [(logger.level, list(logger.filters), list(logger.handlers)) for logger in loggers],
        "excepthooks": (sys.excepthook, threading.excepthook),
        "flags": (
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.allow_tf32,
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.get_float32_matmul_precision(),
        ),
        "environment": dict(os.environ),
        "rank": rank_zero_only.rank,  # type: ignore[attr-defined]
        "random": torch.get_rng_state().tolist(),
        "threads": threading.active_count(),
    }


def same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert {key: (before[key], after[key]) for key in before if before[key] != after[key]} == {}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    module = owned()
    tiny(module)  # what is imported and cached by a first render
    return module


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path) -> Iterator[None]:
    """Not those of a fresh process: what is put back to a default would go unnoticed."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    descriptor = signal.set_wakeup_fd(writer.fileno())
    try:
        signal.signal(signal.SIGTERM, lambda *_: None)
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
        with torch.no_grad(), (tmp_path / "stacks").open("w") as stacks:
            faulthandler.register(signal.SIGUSR2, stacks)  # a handler of which Python knows nothing
            yield
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()


class Raises(pl.Callback):
    """Raises an error in one hook, and records which are called.

    Args:
        hook: which.
        error: what to raise; a class, since an error that is held would hold what its traceback does.
        called: the names of all hooks that are called.
    """

    def __init__(self, hook: str, error: type[BaseException] | None = None, called: set[str] | None = None) -> None:
        self._hook, self._error, self._called = hook, error, called

    def settings(self) -> None:
        """None, for the ids of jobs."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name not in vars(pl.Callback):
            return super().__getattribute__(name)
        inner = super().__getattribute__(name)

        def hook(*args: Any, **kwargs: Any) -> Any:
            if self._called is not None:
                self._called.add(name)
            if name == self._hook and self._error is not None:
                raise self._error
            return inner(*args, **kwargs)

        return hook


def test_the_list_of_hooks_is_whole(network: nn.Module) -> None:
    called: set[str] = set()
    with contextlib.suppress(ZeroDivisionError):
        tiny(network, callbacks=[Raises("on_fit_end", ZeroDivisionError, called)])
    tiny(network, callbacks=[Raises("", None, called)])
    assert called - {"on_exception", "state_key"} == set(HOOKS)


@pytest.mark.parametrize(
    ("hook", "error"),
    [(hook, ZeroDivisionError) for hook in HOOKS]
    + [(hook, KeyboardInterrupt) for hook in ("setup", "on_train_batch_end", "teardown")],
)
def test_an_error_in_a_callback_leaves_everything_as_before(
    network: nn.Module, hook: str, error: type[BaseException]
) -> None:
    before = snapshot(network)
    with pytest.raises(error) as held:  # as a notebook does, for a debugger
        tiny(network, callbacks=[Raises(hook, error)])
    same(before, snapshot(network))
    assert held.tb is not None
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_while_an_error_is_handled(network: nn.Module) -> None:
    before = snapshot(network)
    callbacks = [Raises("on_train_batch_end", ZeroDivisionError), Raises("on_exception", OverflowError)]
    with pytest.raises(OverflowError) as held:
        tiny(network, callbacks=callbacks)
    same(before, snapshot(network))
    assert isinstance(held.value.__context__, ZeroDivisionError)


class Counts:
    """Raises ZeroDivisionError in its n-th call."""

    def __init__(self, at: int) -> None:
        self._left = at

    def settings(self) -> dict[str, Any]:
        return {}

    def tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise ZeroDivisionError


class BadTransform(KeyedTransform):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        self._counts.tick()
        return images * 1


class BadObjective(Objective):
    layers = frozenset(("logits",))

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        self._counts.tick()
        return activations["logits"][:, 0]

    def __repr__(self) -> str:
        return "BadObjective()"


class BadPenalty(Penalty):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def measure(self, images: Tensor) -> Tensor:
        self._counts.tick()
        return images.flatten(1).sum(1)

    def __repr__(self) -> str:
        return "BadPenalty()"


class BadPixel(Pixel):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def forward(self) -> Tensor:
        self._counts.tick()
        return super().forward()


class BadAdam(torch.optim.Adam):
    def step(self, *args: Any, **kwargs: Any) -> Any:
        super().step(*args, **kwargs)
        raise ZeroDivisionError


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "transform": lambda at: {"visualizer": FeatureVisualizer(Pixel(), [BadTransform(Counts(at))], size=(16, 20))},
    "penalty": lambda at: {"visualizer": FeatureVisualizer(Pixel(), [], [BadPenalty(Counts(at))], size=(16, 20))},
    "parameterization": lambda at: {"visualizer": FeatureVisualizer(BadPixel(Counts(at)), [], size=(16, 20))},
    "objective": lambda at: {"targets": [BadObjective(Counts(at))]},
    "optimizer": lambda at: {"visualizer": FeatureVisualizer(Pixel(), [], size=(16, 20), optimizer=BadAdam)},
}


@pytest.mark.parametrize("part", PARTS)
def test_an_error_in_a_part_of_the_recipe_leaves_everything_as_before(network: nn.Module, part: str) -> None:
    before = snapshot(network)
    raised = 0
    for at in (1, 3, 5):
        with contextlib.suppress(ZeroDivisionError, FeatureVisualizationError):  # the latter in checks before step 0
            tiny(network, **PARTS[part](at))
            continue
        raised += 1
    assert raised, "none of them has raised"
    same(before, snapshot(network))


def test_an_error_in_the_network_leaves_everything_as_before(network: nn.Module) -> None:
    raised = []
    for at in (1, 4, 6, 7, 8, 9, 10):
        counts = Counts(at)
        hook = network.get_submodule("conv2").register_forward_pre_hook(lambda *_, counts=counts: counts.tick())
        before = snapshot(network)
        try:
            tiny(network)
        except (ZeroDivisionError, FeatureVisualizationError) as error:
            raised.append(error)
        same(before, snapshot(network))
        hook.remove()
    assert len(raised) > 2


def test_handlers_of_the_command_line_and_flags_of_its_trainer(tmp_path: Path, network: nn.Module) -> None:
    quick = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2"]
    flags = ["--trainer.benchmark", "true", "--trainer.deterministic", "true", "--trainer.detect_anomaly", "true"]
    before = snapshot(network)
    assert main(["--out", str(tmp_path / "run"), "--model.size", "32", "--targets", "logits:0", *quick, *flags]) == 0
    same(before, snapshot(network))


@pytest.fixture(scope="module")
def plain(network: nn.Module) -> Rendering:
    return tiny(network, "logits:0+conv1:2", visualizer=FeatureVisualizer(size=(16, 20)))


@pytest.mark.parametrize("mode", [*sorted(MODES.keys() - {"float16", "set_default_device"}), "deterministic"])
def test_modes_change_no_picture(network: nn.Module, plain: Rendering, mode: str) -> None:
    entered, recipe = MODES[mode]() if mode in MODES else contextlib.nullcontext(), FeatureVisualizer(size=(16, 20))
    torch.use_deterministic_algorithms(mode == "deterministic")
    try:
        with entered:
            again = tiny(network, "logits:0+conv1:2", visualizer=recipe)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(plain.images, again.images)
    assert torch.equal(plain.scores, again.scores)
    assert again.scores.dtype == torch.float32


def test_what_is_made_in_a_mode_renders_outside_of_it() -> None:
    pictures = []
    for mode in (contextlib.nullcontext, *(MODES[name] for name in ("inference_mode", "float64", "device"))):
        with mode():
            network = load_network("demo")
            objectives = [target.objective for target in resolve_targets("logits:0", network)]
            recipe = FeatureVisualizer(size=16)
        pictures.append(render(network, objectives, visualizer=recipe, steps=STEPS, progress=False).images)
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)


def test_weights_made_in_inference_mode_are_refused_in_one_line() -> None:
    with torch.inference_mode():
        module = TinyNet()
        for _ in range(2):
            with pytest.raises(NetworkError, match="created in inference mode; create the network outside it"):
                tiny(module)


def test_two_threads_with_one_module(network: nn.Module) -> None:
    alone = {target: tiny(network, target, steps=4).images for target in ("logits:0", "conv1:2", "conv2:1")}
    before, found, errors = snapshot(network), {}, []
    started = threading.Barrier(3)

    def work(target: str) -> None:
        try:
            started.wait()
            found[target] = tiny(network, target, steps=4).images
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(target,)) for target in ("conv1:2", "conv2:1")]
    for thread in threads:
        thread.start()
    work("logits:0")  # the main thread, as the signals are its own
    for thread in threads:
        thread.join()
    assert not errors
    assert all(torch.equal(found[target], alone[target]) for target in alone)
    same(before, snapshot(network))


class Counter(pl.Callback):
    """Counts steps, and moves the picture by how many it has counted: it depends on what was before."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._lock_free_method = self.count  # what refers to itself

    def settings(self) -> None:
        """None, for the ids of jobs."""

    def count(self, step: int) -> None:
        self._steps.append(step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        self._lock_free_method(trainer.global_step)
        with torch.no_grad():
            pl_module.parameterization.values += 0.1 * len(self._steps)


def test_a_callback_keeps_what_it_recorded_and_each_job_starts_afresh(network: nn.Module) -> None:
    callback = Counter()
    both = tiny(network, "logits:0-1", batch_size=1, callbacks=[callback])
    assert callback._steps == [1, 2]
    fresh = tiny(network, "logits:1", batch_size=1, callbacks=[Counter()])
    assert torch.equal(both.images[1:], fresh.images)
    tiny(network, "logits:0", callbacks=[callback])
    assert callback._steps == [1, 2, 1, 2]  # as with Lightning's Trainer


def test_a_callback_that_cannot_be_copied(network: nn.Module) -> None:
    class Locked(pl.Callback):
        def __init__(self) -> None:
            self._lock = threading.Lock()

    assert tiny(network, "logits:0-1", callbacks=[Locked()]).records[1].status == "done"
    with pytest.raises(UsageError, match=r"Locked cannot be copied, .* a larger batch size"):
        tiny(network, "logits:0-1", batch_size=1, callbacks=[Locked()])


def test_a_render_inside_a_render_and_in_another_thread(network: nn.Module) -> None:
    class Nests(pl.Callback):
        def settings(self) -> None:
            """None, for the ids of jobs."""

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            inner.append(tiny(network, "conv1:2").images)

    inner: list[Tensor] = []
    outer, alone = tiny(network), tiny(network, "conv1:2").images
    before = snapshot(network)
    nested = tiny(network, callbacks=[Nests()])
    same(before, snapshot(network))
    assert torch.equal(nested.images, outer.images)
    assert [torch.equal(images, alone) for images in inner] == [True] * STEPS

    thread = threading.Thread(target=lambda: inner.append(tiny(network, "conv1:2").images))
    thread.start()
    thread.join()
    assert torch.equal(inner[-1], alone)
    same(before, snapshot(network))


def resident() -> int:
    """MiB of this process that are in memory now. Not after a garbage collection: a user's process does none for us."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def test_pictures_are_freed_with_their_last_reference(network: nn.Module) -> None:
    """Not by a garbage collection some hundred jobs later."""

    class Looks(pl.Callback):
        def __init__(self, fails: bool) -> None:
            self._fails = fails

        def settings(self) -> None:
            """None, for the ids of jobs."""

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
            held.extend((weakref.ref(trainer), weakref.ref(pl_module), weakref.ref(pl_module.parameterization.values)))
            if self._fails:
                raise ZeroDivisionError

    held: list[weakref.ref[Any]] = []
    gc.disable()
    try:
        for fails in (False, True):
            with contextlib.suppress(ZeroDivisionError):
                tiny(network, callbacks=[Looks(fails)], progress=True)
            assert held
            assert [ref() for ref in held] == [None] * len(held)
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_files_and_threads_are_flat_over_renders_that_fail(tmp_path: Path, network: nn.Module) -> None:
    seen = []
    for number in range(200):
        out = tmp_path / str(number) if number % 2 else None
        with pytest.raises(ZeroDivisionError):
            tiny(
                network,
                "logits:0-3",
                visualizer=FeatureVisualizer(size=(160, 200)),
                callbacks=[Raises(HOOKS[number % len(HOOKS)], ZeroDivisionError)],
                out=out,
            )
        seen.append((resident(), len(os.listdir("/proc/self/fd")), threading.active_count()))
    sizes, files, threads = zip(*seen, strict=True)
    assert max(sizes[150:]) < max(sizes[30:60]) + 10, sizes
    assert set(files[30:]) == {files[30]}
    assert set(threads[30:]) == {threads[30]}
