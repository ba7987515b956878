"""Evidence about a run's pictures from the options ``--photos`` and ``--judges``."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from lightning.pytorch.cli import LightningArgumentParser

from lightning_fv.engines.isolation import ignored_warnings
from lightning_fv.engines.plan import Plan
from lightning_fv.errors import UsageError, say
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.evidence import COUNTED, Evidence
from lightning_fv.runs.folder import RunFolder
from lightning_fv.trust.evaluate import Evaluator
from lightning_fv.trust.report import report_run
from lightning_fv.trust.witness import Witness

SHOWN = 8


def add_photos_arguments(parser: LightningArgumentParser) -> None:
    """The options ``--photos`` and ``--judges`` of fit; the several values of the latter are for `lightning_fv.commands.start.listed_args`."""
    parser.add_argument(
        "--photos",
        type=str | None,
        default=None,
        metavar="FOLDER",
        help="photos, in any folders or tar archives below: how far can each picture be trusted? See lightning-fv report",
    )
    parser.add_argument(
        "--judges",
        type=list[str] | str | None,
        default=None,
        metavar="NAME [NAME ...]",
        help="other networks that look at the finished pictures, with --photos",
    )


def load_judges(names: Sequence[str], network: VisionNetwork, offline: bool = False) -> list[VisionNetwork]:
    """The networks that look at the pictures of another.

    Args:
        names: as for `load_network`.
        network: that the pictures were made for.
        offline: whether never to download.

    Raises:
        UsageError: one is that network, or is named twice.
        NetworkError, CheckpointError: one cannot be loaded.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"--judges names {twice[0]} twice")
    if network.name in names:
        raise UsageError(f"--judges: {network.name} made the pictures, and cannot judge them; name other networks")
    return [load_network(name, offline=offline) for name in names]


def collect_evidence(
    plan: Plan, photos: PhotoFolder, judges: Sequence[VisionNetwork], others: Sequence[RunFolder] = ()
) -> list[Evidence]:
    """Evidence about all finished pictures of a run, written into its folder; see `lightning_fv.trust.report.report_run`.

    Args:
        plan: of the run, with its folder.
        photos: what the units are compared on.
        judges: other networks.
        others: runs of the same targets by other seeds.
    """
    assert plan.folder is not None
    setup = plan.setup
    objectives = [target.objective for target in plan.targets]
    layers = {layer for objective in objectives for layer in objective.layers}
    with _quiet_photos():
        witness = Witness.of(setup.network, photos, layers, objectives)
        evaluator = Evaluator(
            witness, [Witness.of(judge, photos) for judge in judges], list(setup.visualizer.transforms), setup.seed
        )
        return report_run(plan.folder, {target.id: target for target in plan.targets}, evaluator, photos, others)


@contextlib.contextmanager
def _quiet_photos() -> Iterator[None]:
    with ignored_warnings(".*could be decompression bomb.*"):  # Pillow's, below its limit; ours is lower
        yield


def print_evidence(folder: RunFolder, evidence: Sequence[Evidence]) -> None:
    """Print how many pictures have which verdict, and the reasons of those that are not to be trusted."""
    counts = Counter(found.verdict for found in evidence)
    say(
        ", ".join(f"{counts[level]} {words}" for level, words in COUNTED.items() if counts[level])
        or "no finished picture"
    )
    doubtful = [found for found in evidence if found.verdict in ("distrust", "unknown")]
    for found in doubtful[:SHOWN]:
        say(f"  {found.target}: {found.sentence()}")
    if len(doubtful) > SHOWN:
        say(f"  and {len(doubtful) - SHOWN} more")
    say(f"evidence       {folder.evidence}")
