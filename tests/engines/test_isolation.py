"""What renders share with their process: taken in turns, and left as it was."""

import contextlib
import logging
import os
import threading
import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_fv import render
from lightning_fv.engines.isolation import Precision, ignored_warnings, isolated
from lightning_fv.errors import UsageError
from tests.functional.test_modes import default_dtype


def test_turns_are_taken_and_one_inside_another_is_part_of_it() -> None:
    order: list[str] = []
    waiting = threading.Event()

    def other() -> None:
        waiting.set()
        with isolated():
            order.append("other")

    thread = threading.Thread(target=other)
    with isolated():
        thread.start()
        waiting.wait()
        thread.join(0.05)  # it would be through by now
        with isolated():
            order.append("nested")
        order.append("first")
    thread.join()
    assert order == ["nested", "first", "other"]


def test_an_error_ends_a_turn() -> None:
    def other() -> None:
        with isolated():
            pass

    with pytest.raises(ValueError, match="x"), isolated():
        raise ValueError("x")
    thread = threading.Thread(target=other)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_log_lines_of_this_thread_alone_are_kept_off(caplog: pytest.LogCaptureFixture) -> None:
    def other() -> None:
        rank_zero_info("of another thread")

    loggers = list(map(logging.getLogger, list(logging.root.manager.loggerDict)))
    before = [(logger.level, list(logger.filters)) for logger in loggers]
    with caplog.at_level(logging.INFO), isolated():
        rank_zero_info("of this one")
        logging.getLogger("lightning.pytorch.callbacks").warning("a warning")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert caplog.messages == ["a warning", "of another thread"]
    assert [(logger.level, list(logger.filters)) for logger in loggers] == before


def test_filters_that_others_add_meanwhile_stay() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ignored_warnings("told .*"):
            warnings.warn("Told twice", stacklevel=1)
            warnings.filterwarnings("ignore", message="theirs")
            with pytest.raises(UserWarning, match="another"):
                warnings.warn("another", stacklevel=1)
        assert len(warnings.filters) == len(before) + 1
        warnings.warn("theirs", stacklevel=1)
        with pytest.raises(UserWarning, match="told"):
            warnings.warn("told again", stacklevel=1)


def test_filters_are_removed_also_from_a_list_that_another_restores() -> None:
    """Of two threads, one inside `warnings.catch_warnings` while the other begins or ends."""
    before = list(warnings.filters)
    theirs = warnings.catch_warnings()
    with ignored_warnings("told .*"):
        theirs.__enter__()
    assert warnings.filters == before
    theirs.__exit__(None, None, None)
    assert warnings.filters == before
    theirs = warnings.catch_warnings()
    theirs.__enter__()
    with ignored_warnings("told .*"):
        theirs.__exit__(None, None, None)
    assert warnings.filters == before
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="told .*")
        own = list(warnings.filters)
        with ignored_warnings("told .*"):
            pass
        assert warnings.filters == own


@pytest.mark.parametrize("before", [(False, False), (True, True)])
def test_what_a_trainer_sets_for_the_process_is_taken_back(before: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    rank_zero_only.rank = 3  # type: ignore[attr-defined]
    environment = dict(os.environ)
    try:
        with contextlib.suppress(ZeroDivisionError), isolated(), default_dtype(torch.float64):
            pl.Trainer(deterministic=True, benchmark=True, accelerator="cpu", logger=False, enable_checkpointing=False)
            assert torch.backends.cudnn.benchmark
            assert torch.are_deterministic_algorithms_enabled()
            assert "CUBLAS_WORKSPACE_CONFIG" in os.environ
            rank_zero_only.rank = 0  # type: ignore[attr-defined]
            raise ZeroDivisionError
        assert not torch.backends.cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled() is before[0]
        assert torch.is_deterministic_algorithms_warn_only_enabled() is before[1]
        assert rank_zero_only.rank == 3  # type: ignore[attr-defined]
        assert dict(os.environ) == environment
    finally:
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("asked", ["highest", "high"])
def test_matrices_are_multiplied_as_a_render_asks_and_then_as_before(asked: Precision) -> None:
    seen: list[str] = []

    class Sees(pl.Callback):
        def __deepcopy__(self, memo: dict[int, Any]) -> "Sees":
            return self

        def settings(self) -> None:
            """None: it changes no picture."""

        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(torch.get_float32_matmul_precision())

    torch.set_float32_matmul_precision("medium")
    try:
        render("demo", "logits:0", steps=2, size=16, matmul_precision=asked, progress=False, callbacks=Sees())
        assert (seen, torch.get_float32_matmul_precision()) == ([asked] * 2, "medium")
        with pytest.raises(UsageError, match="must be highest, high or medium, got 'low'"):
            render("demo", "logits:0", matmul_precision="low")  # type: ignore[arg-type]
    finally:
        torch.set_float32_matmul_precision("highest")
