"""``lightning-fv report``: how far can the pictures of a finished run be trusted?"""

from collections.abc import Sequence
from pathlib import Path

from lightning_fv.commands.evidence import collect_evidence, load_judges, print_evidence
from lightning_fv.commands.fit import prepare
from lightning_fv.commands.parser import Parser
from lightning_fv.engines.isolation import isolated
from lightning_fv.errors import RunFolderError, say
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.folder import RunFolder


@isolated()
def report(args: Sequence[str]) -> int:
    """Collect evidence about the pictures of a run, and add it to its gallery; returns the exit code.

    Args:
        args: the command line after ``report``.
    """
    parser = Parser(
        prog="lightning-fv report",
        description="How far can the pictures of a run be trusted? Compares each with photos and with other networks, and writes a verdict with "
        "its reasons into the run's gallery and evidence.jsonl. The same command again continues after an interruption, and evaluates only "
        "what is new; several processes started with it share the work.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run folder")
    parser.add_argument(
        "--photos", metavar="FOLDER", type=Path, required=True, help="photos, in any folders or tar archives below"
    )
    parser.add_argument(
        "--judges",
        metavar="NAME",
        nargs="+",
        default=[],
        help="other networks: demo/antialiased torchvision/resnet50 ...",
    )
    parser.add_argument(
        "--others", metavar="RUN", nargs="+", default=[], type=Path, help="runs of the same targets by other seeds"
    )
    options = parser.parse_args(args)
    folder = RunFolder(options.run)
    if not folder.begun():
        raise RunFolderError(f"{folder} holds no run; give the folder of a run")
    folder.records()
    others = [RunFolder(path) for path in options.others]
    for other in others:
        other.records()
    photos = PhotoFolder(options.photos)
    plan = prepare(["--resume", "--out", str(options.run)]).plan
    plan.folder = folder
    judges = load_judges(options.judges, plan.setup.network)
    folder.locks_work()
    evidence = collect_evidence(plan, photos, judges, others)
    print_evidence(folder, evidence)
    say(f"gallery        {folder.gallery}")
    return 0
