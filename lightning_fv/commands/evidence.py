"""Evidence about a run's pictures: the options ``--photos`` and ``--judges`` of fit, and what is printed of it."""

from collections import Counter
from collections.abc import Sequence

from lightning.pytorch.cli import LightningArgumentParser

from lightning_fv.errors import say
from lightning_fv.networks import VisionNetwork
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.evidence import WORDS, Evidence
from lightning_fv.runs.folder import RunFolder
from lightning_fv.trust.responses import NetworkResponses
from lightning_fv.trust.sets import ENOUGH, distance_from_photos

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


def print_evidence(folder: RunFolder, evidence: Sequence[Evidence]) -> None:
    """Print how many pictures have which verdict, and the reasons of those that are not trusted or have none."""
    counts = Counter(found.verdict for found in evidence)
    say(
        ", ".join(f"{counts[level]} {words}" for level, words in WORDS.items() if counts[level])
        or "no finished picture"
    )
    told = [found for found in evidence if found.verdict in ("distrust", "unknown")]
    for found in told[:SHOWN]:
        say(f"  {found.target}: {found.sentence()}")
    if len(told) > SHOWN:
        say(f"  and {len(told) - SHOWN} more")
    say(f"evidence       {folder.evidence}")


def print_distance(folder: RunFolder, network: VisionNetwork, photos: PhotoFolder) -> None:
    """Print how far the pictures of a run as a set are from photos, by the features of a network."""
    responses = NetworkResponses.of(network, photos)
    distance, count = distance_from_photos(folder, responses)
    if distance is None:
        say(
            f"as a set       kernel distance (KID): not computed; it needs at least {ENOUGH} pictures and {ENOUGH} photos, but got "
            f"{_counted(count, 'picture')} and {_counted(len(responses.photos), 'photo')}"
        )
    else:
        say(
            f"as a set       kernel distance (KID) of {count} pictures from photos {distance:.3g}, by features of {network.name}"
        )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
