"""``--from PICTURE.png``: render a picture again, from what its file says."""

import json
from argparse import SUPPRESS, Action
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser

from lightning_fv.engines.plan import Plan
from lightning_fv.errors import UsageError, note
from lightning_fv.runs.picture import Origin, read_origin
from lightning_fv.version import __version__

OPTION = "--from"

LONG = 60
"""Of a change longer than this, such as of a list of transforms, only the option is named."""


class _TakenOut(Action):
    """An option that `from_args` takes from the command line; what is left of it here has no file."""

    def __call__(self, *_: Any) -> None:
        raise UsageError(f"{OPTION} is an option of the command line, for one picture")


def add_from_argument(parser: LightningArgumentParser) -> None:
    """The option ``--from``, for the help; it is no setting of a run."""
    parser.add_argument(
        OPTION,
        action=_TakenOut,
        dest=SUPPRESS,
        default=SUPPRESS,
        metavar="PICTURE.png",
        help="render a picture of a run again, by the settings in its file, in a new folder; other options change these. The "
        "picture comes out the same, bit for bit on a CPU, with the other targets of its batch, on which rounding depends. "
        "As a config file, it names classes to run.",
    )


def from_args(args: Sequence[str]) -> tuple[list[str], Origin | None]:
    """Replace ``--from FILE`` by the settings in the file, below all other options.

    Raises:
        UsageError: there is no such picture, it does not say how it was made, or another version made it.
    """
    rest, files = [], []
    words = iter(args)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == OPTION:
            files.append(value if equals else next(words, ""))
        else:
            rest.append(word)
    if not files:
        return rest, None
    if len(files) > 1 or not files[0] or files[0].startswith("--"):
        raise UsageError(f"{OPTION} takes one picture")
    if "--resume" in rest:
        raise UsageError(f"--resume continues a run with its own settings; leave out {OPTION}")
    origin = read_origin(Path(files[0]))
    made_by = origin.versions.get("lightning_fv")
    if made_by != __version__:
        raise UsageError(
            f"{origin.file} was made by lightning_fv {made_by}, and this is {__version__}: install that version to make it again"
        )
    if origin.config is None:
        raise UsageError(
            f"{origin.file} was made by lightning_fv.render with something that cannot be named on the command line ({origin.reason})"
        )
    return [f"--config={json.dumps(origin.config)}", *rest], origin


def check_origin(origin: Origin, plan: Plan, changed: Sequence[tuple[str, Any, Any]]) -> None:
    """Compare a plan with the picture that it was made from; tells how the result may differ.

    Args:
        origin: of the picture.
        plan: what is about to be rendered.
        changed: options that are not those in the picture's file: name, value there, value now.

    Raises:
        UsageError: the network of that name has other weights.
    """
    network, config = plan.setup.network, origin.config or {}
    if network.name == config.get("network") and network.digest() != origin.digest:
        raise UsageError(
            f"{origin.file} was made with other weights of {network.name} than those here; to see what these give, render "
            f"{origin.target} without {OPTION}"
        )
    if plan.setup.rank.rank != 0:
        return
    torch_then = origin.versions.get("torch")
    if origin.job not in {job.id for job in plan.jobs}:
        split = "its batch is cut into smaller ones" if len(plan.jobs) > 1 else ""
        reason = ", ".join(_told(*one) for one in changed) or split
        reason = reason or "code or a file that its settings name has changed since"
        note(f"lightning-fv: this will not be the same picture as {origin.file}: {reason}")
    elif torch_then != torch.__version__:
        note(
            f"lightning-fv: {origin.file} was made with torch {torch_then}, and this is {torch.__version__}: pixels may differ"
        )
    elif (others := len(plan.targets) - 1) > 0:
        noun = "other target" if others == 1 else f"{others} other targets"
        note(f"lightning-fv: rendering {origin.target} with the {noun} of its batch")


def _told(option: str, then: Any, now: Any) -> str:
    told = f"{option} {then} -> {now}"
    return told if len(told) <= LONG else f"another {option}"
