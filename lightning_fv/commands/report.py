"""``lightning-fv report``: how far can the pictures of a finished run be trusted?"""

from collections.abc import Sequence
from pathlib import Path

from lightning_fv.commands.evidence import print_distance, print_evidence
from lightning_fv.commands.fit import prepare
from lightning_fv.commands.parser import Parser
from lightning_fv.engines.config import check_network, check_run, only_render
from lightning_fv.engines.isolation import isolated
from lightning_fv.errors import RunFolderError, say
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.folder import RunFolder
from lightning_fv.trust.report import report_run


@isolated()
def report(args: Sequence[str]) -> int:
    """Collect evidence about the pictures of a run, and add it to its gallery; returns the exit code.

    Args:
        args: the command line after ``report``.
    """
    parser = Parser(
        prog="lightning-fv report",
        description="How far can the pictures of a run be trusted? Compares each with photos and with other networks, and writes a verdict with "
        "its reasons into the run's gallery and evidence.jsonl. Repeating the command continues after an interruption, and evaluates only "
        "what is new; several processes started with it share the work.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run folder")
    parser.add_argument(
        "--photos",
        metavar="FOLDER",
        type=Path,
        required=True,
        help="folder of photos, searched recursively, including uncompressed tar archives",
    )
    parser.add_argument(
        "--judges",
        metavar="NAME",
        nargs="+",
        default=[],
        help="other networks to check the pictures with, such as demo/antialiased torchvision/resnet50",
    )
    parser.add_argument(
        "--others", metavar="RUN", nargs="+", default=[], type=Path, help="runs of the same targets by other seeds"
    )
    options = parser.parse_args(args)
    folder, others = RunFolder(options.run), [RunFolder(path) for path in options.others]
    for place in (folder, *others):
        place.records()
    check_run(folder)
    if (reason := only_render(folder)) is not None:
        raise RunFolderError(
            f"{folder} was rendered from Python with something that has no name on the command line ({reason}); "
            "call lightning_fv.collect_evidence, with the same network by network="
        )
    photos = PhotoFolder(options.photos)
    # With fit's own checks of these two options. No cluster is needed, whatever rendered the pictures.
    words = ["--resume", "--out", str(folder), "--engine", "process", "--photos", str(photos.path)]
    run = prepare([*words, "--judges", *options.judges])
    check_network(folder, run.plan.setup.network)
    evidence = report_run(folder, run.report_inputs(others))
    print_evidence(folder, evidence)
    print_distance(folder, run.plan.setup.network, photos)
    say(f"gallery        {folder.gallery}")
    return 0
