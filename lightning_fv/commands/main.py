"""The command line: runs the command that is named, and reports every mistake in one clear line."""

import contextlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from lightning_fv.commands.memory import keep_freed_memory
from lightning_fv.commands.streams import safe_streams
from lightning_fv.errors import DISK_ERRORS, FeatureVisualizationError, UsageError, nearest, note, printable
from lightning_fv.version import __version__

COMMANDS = {
    "fit": "render pictures of what units of a network look for (the default)",
    "compare": "the same targets on several networks, or by several recipes, side by side",
    "layers": "list the layers of a network, to choose targets from",
    "report": "how far the pictures of a run can be trusted: photos, other networks, a verdict",
    "gallery": "write a page of the pictures of one or more runs",
    "open": "show the gallery of a run in the browser",
}

HELP = """\
usage: lightning-fv [COMMAND] [OPTIONS]

What does a unit of a trained vision network look for?

commands:
{commands}

lightning-fv COMMAND --help shows the options of a command, lightning-fv fit --help-all also those of the recipe (--model.*)
and of Lightning's Trainer (--trainer.*).

the most common options of fit:
  --targets T              logits:pizza  logits:0-9  logits:all  layer4:12  layer4:0-511  layer3  layer4:12@3,4; joined by +
  --network NAME           demo  torchvision/resnet50:IMAGENET1K_V1  timm/resnet18.a1_in1k  checkpoint:PATH ...
  --out FOLDER             the run folder (default: lightning_logs/version_N); repeating the command continues the run
  --resume                 continue the run in --out, with its own settings
  --config NAME|FILE       a shipped recipe or a YAML file
  --from PICTURE.png       render a picture of a run again, by the settings in its file
  --seed N                 another seed gives other pictures
  --start FILE ...         photos to start from instead of noise: one for all targets, or one for each
  --batch-size N           pictures rendered together
  --model.size N           side of the pictures in pixels, or a fraction of the network's training size
  --trainer.max_steps N    optimizer steps of a render
  --trainer.devices N      this many workers on this machine, each on its own device
  --engine ray             render on a Ray cluster
  --print_config           all settings as YAML, to edit and pass to --config

exit codes: 0 done, 1 a target is not done or a file not written, 2 bad usage, 130, 143 and 129 stopped by Ctrl-C, SIGTERM
and SIGHUP (a closed terminal; nohup prevents this)
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command of `COMMANDS` with its options; ``args`` are by default those of the command line.

    Returns:
        0 done; 1 a target is not done or a file not written; 2 bad usage; 128 + N stopped by signal N: Ctrl-C (130), SIGTERM
        (143) or SIGHUP (129).
    """
    keep_freed_memory()
    with safe_streams() as out:
        code = _main(list(sys.argv[1:] if args is None else args))
        out.flush()
        if out.incomplete:
            note(f"lightning-fv: error: standard output cannot be written: {out.error}")
            code = code or 1
    return code


def console() -> None:
    """Entry point of the ``lightning-fv`` command."""
    sys.exit(main())


def _main(words: list[str]) -> int:
    try:
        if words[:1] in (["--help"], ["-h"], ["help"]):
            print(HELP.format(commands="\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items())), end="")
            return 0
        if words[:1] == ["--version"]:
            print(f"lightning_fv {__version__}")
            return 0
        named = bool(words) and words[0] in COMMANDS
        _check_surroundings(words, words[:1] in (["gallery"], ["open"]))
        if words and not named and not words[0].startswith("-"):
            near = nearest(words[0], COMMANDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(COMMANDS)}"
            raise UsageError(f"no command {words[0]!r}; {hint} (options begin with --)")
        command = _command(words[0] if named else "fit")
        with _warnings_of_one_line():
            return command(words[1:] if named else words)
    except FeatureVisualizationError as error:
        note(*f"lightning-fv: error: {error}".split("\n"))
        return 2
    except SystemExit as exit_:  # --help and --print_config
        return exit_.code if isinstance(exit_.code, int) else 1
    except KeyboardInterrupt:
        note("lightning-fv: interrupted")
        return 128 + signal.SIGINT
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            note(f"lightning-fv: error: {error}; files written before are intact")
        else:  # our bug: told as by Python, but its message may contain anything
            note(*traceback.format_exc().rstrip().split("\n"))
        return 1


def _command(name: str) -> Callable[[list[str]], int]:
    """A command by name. Each is imported when needed: ``gallery`` and ``open`` need no torch, which takes seconds."""
    if name == "compare":
        from lightning_fv.commands.compare import compare

        return compare
    if name == "layers":
        from lightning_fv.commands.layers import list_layers

        return list_layers
    if name == "report":
        from lightning_fv.commands.report import report

        return report
    if name == "gallery":
        from lightning_fv.commands.gallery import gallery

        return gallery
    if name == "open":
        from lightning_fv.commands.open import open_page

        return open_page
    from lightning_fv.commands.fit import fit

    return fit


def _check_surroundings(words: Sequence[str], any_bytes: bool) -> None:
    """Refuse what would fail later in many places: words that are no text, and a working folder that has been removed.

    Args:
        words: the command line.
        any_bytes: whether names of files may be any bytes; logs and records are UTF-8.

    Raises:
        UsageError: there is such a word, or no such folder.
    """
    for word in [] if any_bytes else words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{word} is not text in this locale's encoding; use other names, or a UTF-8 locale (PYTHONUTF8=1)"
            ) from None
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(f"the working folder cannot be used ({error.strerror}); change to another") from None


@contextlib.contextmanager
def _warnings_of_one_line() -> Iterator[None]:
    """Show this package's warnings like its errors: one line each, once, without the source location."""
    before, package, shown = warnings.showwarning, str(Path(__file__).parents[1]), set[str]()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is not UserWarning or not filename.startswith(package):
            safe = "\n".join(map(printable, str(message).split("\n")))
            before(message if safe == str(message) else safe, category, filename, lineno, file, line)
        elif str(message) not in shown:
            shown.add(str(message))
            note(f"lightning-fv: warning: {message}")

    warnings.showwarning = show
    try:
        yield
    finally:
        if warnings.showwarning is show:  # else another was put on top of it, and may call it
            warnings.showwarning = before
