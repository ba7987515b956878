"""What renders share with the rest of their process: taken in turns, and left as it was."""

import contextlib
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from lightning_fv.functional import torch_defaults

Precision = Literal["highest", "high", "medium"]
"""Of products of float32 matrices on a GPU; see `torch.set_float32_matmul_precision`."""

_TURNS = threading.RLock()

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"

# The last two are the same package under an older name. If both are imported, one logs through the loggers of the other.
_LOGGERS = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric")

# Lightning's advice for training, which does not apply here and would be repeated for every job; and Pillow's about large photos.
_ADVICE = (
    ".*does not have many workers.*",  # the loader yields step numbers
    ".*smaller than the logging interval.*",  # a stage is short
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed job's is not
    ".*not resumable.*",  # every batch is a function of the step
    ".*dirpath has changed.*",  # a run folder may be moved
    ".*LeafSpec.* is deprecated.*",  # Lightning 2.6 under torch 2.14 and newer
    ".*could be decompression bomb.*",  # `photo_pixels` has a lower limit
)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Wrap a whole render in this, from the plan to the last job, as the command line and `lightning_fv.render` do.

    Renders of one process run one at a time: they set flags of the network, of torch and of Lightning that belong to
    the whole process. A render inside a render, as in a callback, is part of its turn, on the same thread only: a
    callback that starts a thread which renders, and waits for it, would wait for ever. They compute under torch's own
    defaults (`torch_defaults`). What Lightning's Trainer sets for the process is as before afterwards, even after an
    error, and so is the CPU's global generator, from which untrained weights are drawn before the trained ones replace
    them; torch's generators of other devices are not restored. Matrices are multiplied in full float32, unless a render asks for less.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_TURNS)
        stack.enter_context(torch_defaults())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(_trainer_flags())
        stack.enter_context(matmul_precision("highest"))
        stack.enter_context(_quiet_lightning())
        stack.enter_context(ignored_warnings(*_ADVICE))
        yield


@contextlib.contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Multiply float32 matrices on a GPU with this precision, and as before afterwards; the setting is the whole process's.

    Convolutions follow ``torch.backends.cudnn.allow_tf32`` alone, which is True unless somebody sets it.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def ignored_warnings(*messages: str) -> Iterator[None]:
    """Ignore warnings whose messages match one of these regular expressions.

    Unlike `warnings.catch_warnings`, which restores a copy of all filters, it keeps what other threads change meanwhile.
    """
    at_start: Any = warnings.filters
    entries = [("ignore", re.compile(message, re.IGNORECASE), Warning, None, 0) for message in messages]
    added = [entry for entry in entries if entry not in at_start]
    for message in messages:
        warnings.filterwarnings("ignore", message=message)
    try:
        yield
    finally:
        # Inside catch_warnings, another thread has a list of its own, and will restore the one from before.
        for filters in {id(at_start): at_start, id(warnings.filters): warnings.filters}.values():
            for entry in added:
                with contextlib.suppress(ValueError):  # not in both of them
                    filters.remove(entry)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's log lines below a warning off this thread, and off no other."""

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.thread != thread

    thread = threading.get_ident()
    # All of them, since a logger's filter does not see the records of its children.
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.startswith(_LOGGERS) and isinstance(logger, logging.Logger)
    ]
    for logger in loggers:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(passes)


@contextlib.contextmanager
def _trainer_flags() -> Iterator[None]:
    """Restore what a Trainer sets for the whole process: its rank, and its options ``benchmark`` and ``deterministic``."""
    rank, benchmark = getattr(rank_zero_only, "rank", None), torch.backends.cudnn.benchmark
    deterministic = _deterministic()
    workspace = os.environ.get(_CUBLAS)
    try:
        yield
    finally:
        rank_zero_only.rank = rank  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
        if deterministic != _deterministic():
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
        else:
            os.environ[_CUBLAS] = workspace


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
