"""``lightning-fv compare``: the same targets on several networks, or by several recipes, side by side."""

import argparse
import time
from pathlib import Path

from lightning_fv.commands.fit import LOGS, Run, exit_code, prepare
from lightning_fv.commands.parser import Parser
from lightning_fv.comparison import compare_runs, markdown
from lightning_fv.engines.isolation import isolated
from lightning_fv.engines.rank import find_rank
from lightning_fv.errors import RunFolderError, UsageError, note, say
from lightning_fv.networks import VisionNetwork
from lightning_fv.runs.comparison_folder import ComparisonFolder
from lightning_fv.runs.entries import refuse_foreign_entries
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.versions import next_version

TWINS = ("demo", "demo/antialiased", "demo/stylized")
STRATEGIES = ("study_transforms", "study_penalty", "study_upscaling")


@isolated()
def compare(args: list[str]) -> int:
    """Render runs as `fit` does, one per network or recipe, each in its own folder, then show them side by side.

    Args:
        args: the command line after ``compare``.

    Returns:
        The exit code.
    """
    options, shared = _parser().parse_known_args(args)
    by_network, columns = _columns(options, shared)
    networks: dict[tuple[str, str], VisionNetwork] = {}
    runs: dict[str, Run] = {}
    for name, own in columns.items():
        location, resume = [], []
        if options.out is not None:
            folder = ComparisonFolder(options.out).column(name)
            location = ["--out", str(folder)]
            resume = ["--resume"] if options.resume and folder.begun() else []
        runs[name] = prepare([*shared, *own, *location, *resume], networks)
    if options.resume and not any(ComparisonFolder(options.out).column(name).begun() for name in runs):
        raise RunFolderError(f"nothing to resume in {options.out}: no run of this comparison was started there")
    for own in by_network.values():  # all networks rate the pictures, even those that make none
        prepare([*shared, *own, "--targets", "logits:0", "--batch_size", "1", "--start=null"], networks)

    out = ComparisonFolder(options.out or next_version(LOGS, "comparison").path)
    unfinished = next((run for run in runs.values() if not run.finished()), next(iter(runs.values())))
    with unfinished.connected():
        return _render(runs, list(networks.values()), out)


def _render(runs: dict[str, Run], networks: list[VisionNetwork], out: ComparisonFolder) -> int:
    start, everything = time.monotonic(), []
    for number, (name, run) in enumerate(runs.items(), 1):
        note(f"column {number} of {len(runs)}: {name}")
        run.open(out.column(name))
        outcome = run.execute()
        everything += outcome.records
        if outcome.signal is not None:
            note(f"stopped; continue with the same options and --resume --out {out.path}")
            return 128 + outcome.signal
        if outcome.failed_fast:
            note(f"{name} has targets that are not done; continue with --resume --out {out.path}")
            return exit_code(outcome.records, [run], out.path)
    rated = compare_runs({name: out.column(name).path for name in runs}, networks, out.path)
    say(*markdown(rated).split("\n"))
    say(f"{len(everything)} pictures in {time.monotonic() - start:.1f} s")
    say(f"side by side   {out.sheet}")
    say(f"page           {out.page}")
    say(f"TensorBoard    tensorboard --logdir {out.path} --samples_per_plugin images=200")
    return exit_code(everything, list(runs.values()), out.path)


def _columns(options: argparse.Namespace, shared: list[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Options of each network, and of each column; mistakes in them are reported before any work."""
    weights = options.weights or ["default"] * len(options.networks)
    if len(weights) != len(options.networks):
        raise UsageError(f"--weights: {len(weights)} files for {len(options.networks)} networks; give one for each")
    if any(word.partition("=")[0] == "--network" for word in shared):
        raise UsageError("--network is not used here; name the networks to compare with --networks")
    if options.resume and options.out is None:
        raise UsageError("--resume needs the comparison's folder: add --out FOLDER")
    if options.resume and options.out.is_dir():
        refuse_foreign_entries(options.out)
    elif options.out is not None:
        RunFolder(options.out).check_new()
    if find_rank(1, 1).ranks > 1:
        raise UsageError(
            "compare starts its workers itself; start it once, with --trainer.devices, not with a launcher"
        )
    by_network = {
        name: ["--network", name, *([] if file == "default" else ["--weights", file])]
        for name, file in zip(options.networks, weights, strict=True)
    }
    columns = dict(by_network)
    if options.strategies is not None:
        first = by_network[options.networks[0]]
        columns = {recipe: [*first, "--config", recipe] for recipe in options.strategies or STRATEGIES}
    folders = {ComparisonFolder("").column(name).path.name.lower() for name in columns}
    if len(folders) < len(columns) or len(by_network) < len(options.networks):
        raise UsageError(f"the columns {', '.join(columns)} cannot be told apart by their folders; name each once")
    return by_network, columns


def _parser() -> Parser:
    parser = Parser(
        prog="lightning-fv compare",
        description="Render the same targets, with the same seeds, on several networks or by several recipes, side by side.",
        epilog="All other options are those of lightning-fv fit and hold for every column: --targets, --config, --seed, "
        "--model.*, --trainer.* ... Each column is a run in its own folder inside the output folder.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--networks", nargs="+", default=list(TWINS), metavar="NAME", help=f"default: {' '.join(TWINS)}"
    )
    parser.add_argument(
        "--weights", nargs="+", metavar="FILE", help="a file per network; 'default' for the published one"
    )
    parser.add_argument(
        "--strategies",
        nargs="*",
        metavar="RECIPE",
        help=f"a column per recipe, on the first network; the others rate the pictures. Default: {' '.join(STRATEGIES)}",
    )
    parser.add_argument("--out", type=Path, help="output folder; default: lightning_logs/comparison_N")
    parser.add_argument("--resume", action="store_true", help="continue the comparison in the folder given by --out")
    return parser
