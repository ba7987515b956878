"""The table of a network's layers."""

import re
import shutil
import sys
from collections.abc import Sequence

from lightning_fv.commands.parser import Parser
from lightning_fv.errors import UsageError, printable, say
from lightning_fv.networks import load_network
from lightning_fv.networks.capture import LayerInfo

# What a user would look at first: stages and blocks, not the parts inside.
_WORTH = re.compile(
    r"(^|\.)(stem|layer\d+|stages?\.\d+|features\.\d+|blocks\.\d+|encoder_layer_\d+|Mixed_\w+|inception\w+)$"
)

_TYPE = 18


def list_layers(args: Sequence[str]) -> int:
    """Print a table of a network's layers, from one probe forward; returns the exit code.

    Args:
        args: the command line after ``layers``.
    """
    parser = Parser(prog="lightning-fv layers", description="List the layers of a network.")
    parser.add_argument("network", help="such as demo, torchvision/resnet50, timm/vit_tiny_patch16_224")
    parser.add_argument("--grep", metavar="X", help="only layers whose name or type matches this regular expression")
    parser.add_argument("--no-weights", action="store_true", help="an untrained network: nothing to download")
    parser.add_argument("--weights", help="a file instead of the published weights")
    parser.add_argument("--offline", action="store_true", help="use cached weights, never download")
    parser.add_argument("--architecture", help="for checkpoint:PATH")
    parser.add_argument("--width", type=int, help="columns to fit into; default: the terminal's, unlimited when piped")
    options = parser.parse_args(args)
    try:
        pattern = re.compile(options.grep or "")
    except re.error as error:
        raise UsageError(f"--grep {options.grep!r} is not a regular expression: {error}") from None
    extra = (
        {"architecture": options.architecture, "mean": (0.5,) * 3, "std": (0.5,) * 3} if options.architecture else {}
    )
    weights = None if options.no_weights else options.weights or "default"
    network = load_network(options.network, weights, offline=options.offline, **extra)
    chosen = [info for info in network.layers() if pattern.search(info.name) or pattern.search(info.type)]
    if not chosen:
        raise UsageError(f"no layer of {options.network} matches {options.grep!r}")
    terminal = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None
    say(*table(chosen, options.width or terminal).split("\n"))
    return 0


def table(infos: Sequence[LayerInfo], columns: int | None = None) -> str:
    """The layers as text: a mark, name, type, output shape and axis order, units, runs.

    Args:
        infos: one row each.
        columns: width of the terminal; wider rows continue on a second line after the name, since a truncated name
            could not be copied. None: one row per layer, however wide.
    """
    rows = [("", "layer", "type", "output", "units", "runs")]
    rows += [
        (
            _mark(info),
            printable(info.name),
            printable(info.type),
            printable(_output(info)),
            str(info.units or "-"),
            str(info.calls),
        )
        for info in infos
    ]
    if columns is not None:  # a type may be truncated, a name never
        rows = [(*row[:2], row[2] if len(row[2]) <= _TYPE else row[2][: _TYPE - 1] + "…", *row[3:]) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    fits = columns is None or sum(widths) + 10 <= columns
    if not fits:
        widths[1] = max(10, columns - sum(widths[2:]) - 12) if columns else widths[1]
    lines = []
    for mark, name, kind, output, units, runs in rows:
        rest = f"{kind:{widths[2]}}  {output:{widths[3]}}  {units:>{widths[4]}}  {runs:>{widths[5]}}"
        if len(name) <= widths[1]:
            lines.append(f"{mark:1} {name:{widths[1]}}  {rest}".rstrip())
        else:
            lines += [f"{mark:1} {name}", f"  {'':{widths[1]}}  {rest}".rstrip()]
    return "\n".join([*lines, *["* worth looking at first"] * any(map(_mark, infos))])


def _mark(info: LayerInfo) -> str:
    return "*" if info.name == "logits" or _WORTH.search(info.name) else ""


def _output(info: LayerInfo) -> str:
    """Shape without the batch axis, with the axis order: `64x56x84 CHW`."""
    if info.calls == 0:
        return "not run"
    if info.shape is None:
        items = [f"[{key}] {'x'.join(map(str, shape[1:]))}" for key, shape in info.items.items() if shape is not None]
        return f"items {', '.join(items)}" if items else "no tensor"
    sizes = "x".join(map(str, info.shape[1:]))
    order = {(2, 1): "C", (3, 2): "LC", (4, 1): "CHW", (4, 3): "HWC"}.get((len(info.shape), info.axis or 0), "?")
    return f"{sizes} {order}"
