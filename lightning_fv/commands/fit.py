"""``lightning-fv fit``: render targets of a network, alone, in several processes, or on a Ray cluster."""

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import find_free_network_port

from lightning_fv.commands.differences import differences
from lightning_fv.commands.evidence import print_evidence
from lightning_fv.commands.from_picture import check_origin, from_args
from lightning_fv.commands.options import (
    FitCLI,
    agree,
    check_settings,
    parse,
    resume_args,
    saved_settings,
)
from lightning_fv.commands.recipes import check_start_given, located, recipe_args
from lightning_fv.commands.start import start_args, start_files
from lightning_fv.engines.base import Engine
from lightning_fv.engines.config import network_options
from lightning_fv.engines.ddp import DDPEngine
from lightning_fv.engines.isolation import ignored_warnings, isolated
from lightning_fv.engines.launch import Children, children
from lightning_fv.engines.plan import Plan, Setup, batch_size_for, make_plan
from lightning_fv.engines.rank import RankInfo, find_rank
from lightning_fv.engines.ray import RayEngine
from lightning_fv.engines.ray_cluster import check_ray, cluster
from lightning_fv.engines.run import Outcome, render_plan, report_plan, run_plan
from lightning_fv.engines.start_photos import check_start_photos, keep_start_photos, starting_from
from lightning_fv.engines.strategy import strategy_name
from lightning_fv.engines.trainer import count_devices
from lightning_fv.engines.workers import WorkerEngine
from lightning_fv.errors import RunFolderError, UsageError, note, say
from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.optimization.dead_units import DEAD_STEPS, MAX_RESTARTS
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.captions import UNTRAINED
from lightning_fv.runs.entries import check_parent
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.record import Record
from lightning_fv.runs.versions import next_version
from lightning_fv.targets import parse_targets
from lightning_fv.trust.judges import load_judges
from lightning_fv.trust.report import ReportInputs, report_run

LOGS = Path("lightning_logs")

PATIENCE = 120.0
"""Seconds that workers started by this process get to end after it: longer than a step and the writing of its pictures."""


@dataclass
class Run:
    """A run that has passed all checks; nothing is written yet.

    Attributes:
        cli: the parsed options.
        plan: the jobs, without a folder yet.
        words: the command line, for processes that this one starts.
        measured: whether the batch size was measured here, and not asked for.
        agreed: whether the options were found to be those of the run in the folder.
        photos: what the finished pictures are compared with, or None.
        judges: other networks that look at them.
        lost_files: whether a process that this one started could not write a file.
    """

    cli: FitCLI
    plan: Plan
    words: list[str]
    measured: bool = False
    agreed: bool = False
    photos: PhotoFolder | None = None
    judges: list[VisionNetwork] = field(default_factory=list)
    lost_files: bool = False

    @property
    def config(self) -> Any:
        return self.cli.config_init

    @property
    def rank(self) -> RankInfo:
        return self.plan.setup.rank

    def open(self, folder: RunFolder | None = None) -> RunFolder:
        """Create the run's folder, or join the run that was started there.

        Args:
            folder: where; by default that of ``--out``, else the next version.

        Raises:
            RunFolderError: it cannot be used, or holds another run.
        """
        if folder is None:
            folder = RunFolder(self.config.out) if self.config.out is not None else next_version(LOGS)
        if not folder.begun():
            settings = self.cli.config.clone()
            settings.fail_fast = False  # a resumed run does not stop at failures unless asked again
            with contextlib.suppress(FileExistsError):  # another process was faster, with the same command or another
                folder.create(self.cli.parser.dump(settings, skip_none=False))
                self.agreed = True
        if not self.agreed:
            self._take_settings(folder)
        folder.register(self.plan.jobs, self.plan.known)
        keep_start_photos(folder, self.plan.setup)
        self.plan.folder = folder
        return folder

    def _take_settings(self, folder: RunFolder) -> None:
        """Agree with the settings of a run that has just been begun; a GPU may have measured another batch size."""
        own = self.cli.config.batch_size
        if self.measured:
            self.cli.config.batch_size = "auto"
        agree(self.cli, folder)
        if self.cli.config.batch_size != own:
            self.plan.jobs = make_plan(self.plan.setup, self.config.targets, self.cli.config.batch_size).jobs

    def finished(self) -> bool:
        """Whether nothing is left to do."""
        folder = self.plan.folder or (RunFolder(self.config.out) if self.config.out is not None else None)
        return folder is not None and all(folder.done(job) is not None for job in self.plan.jobs)

    def execute(self) -> Outcome:
        """Render in the folder that was opened, with as many further processes as asked for."""
        plan, setup = self.plan, self.plan.setup
        assert plan.folder is not None
        plan.stop.second = "exit"
        with plan.stop:
            left = sum(plan.folder.done(job) is None for job in plan.jobs)
            if self.config.engine == "ray" or not left:
                return run_plan(self._engine(Children()), plan)
            count = setup.rank.starts if setup.shared else min(setup.rank.starts, left - 1)
            words = [*self.words, "--out", str(plan.folder)]
            with children(setup.rank, count, words, plan.stop, setup.port) as others:
                outcome = render_plan(self._engine(others), plan)
                if outcome.signal is not None or outcome.failed_fast:
                    others.stop()
                if outcome.signal is not None or len(outcome.found) == len(plan.jobs):
                    others.patience = PATIENCE  # else they may be rendering what this worker has given up
            report_plan(plan, outcome)
        self.lost_files = any(child.returncode == 1 for child in others.processes.values())
        if outcome.signal is None and not outcome.failed_fast:
            for clause in others.failed():
                note(f"lightning-fv: {clause}")
        return outcome

    def report_inputs(self, others: Sequence[RunFolder] = ()) -> ReportInputs:
        """What a report on the finished pictures is made from, besides them; with ``--photos``."""
        assert self.photos is not None
        targets = {target.id: target for target in self.plan.targets}
        return ReportInputs(self.plan.setup.network, targets, self.photos, self.judges, others)

    def _engine(self, others: Children) -> Engine:
        if self.config.engine == "ray":
            return RayEngine(self.config.ray)
        if self.plan.setup.shared:
            return DDPEngine(others)
        return WorkerEngine(self._joined if self.rank.ranks == 1 else None)

    def _joined(self) -> None:
        say(f"{self.plan.folder}: joined this run of {len(self.plan.jobs)} jobs, on which another process is working")

    def connected(self) -> contextlib.AbstractContextManager[None]:
        """Connect to the cluster that the run needs, if any, before any folder is created."""
        if self.config.engine != "ray" or self.finished():
            return contextlib.nullcontext()
        return cluster(self.config.ray, self.plan.setup.options)


def prepare(args: list[str], networks: dict[tuple[str, str], VisionNetwork] | None = None) -> Run:
    """Check everything that can be wrong with a run before any work.

    Args:
        args: the command line.
        networks: those loaded already, by name and options; the run's is added.

    Raises:
        FeatureVisualizationError: a subclass that says what is wrong.
    """
    networks = networks if networks is not None else {}
    words = args
    args, origin = from_args(recipe_args(args))
    args, resumed = resume_args(start_args(args))
    # Lightning suspects a mistake where both args and sys.argv are given; here they are the same.
    with ignored_warnings(".*args parameter is intended to run from within Python.*"):
        cli = _parse(args, words, resumed)
    config = cli.config_init
    folder = RunFolder(config.out) if config.out is not None else None
    agreed = folder is not None and folder.begun()
    if folder is not None and agreed:
        if resumed is None:
            check_settings(folder)
        agree(cli, folder)
    if config.engine == "ray":
        check_ray(config.ray, config.trainer)

    parse_targets(config.targets)  # what is wrong without a network is reported before it is loaded
    check_start_given(args, config.start)
    files = start_files(config.start)
    if files is not None:
        check_start_photos(files)
    photos = PhotoFolder(config.photos) if config.photos is not None else None
    if config.judges and photos is None:
        raise UsageError("--judges look at pictures beside photos; add --photos FOLDER")
    rank, shared, port = _find_rank(config)
    if folder is None:
        check_parent(LOGS)
    else:
        _check_free(folder)
    options = network_options(config)
    key = (config.network, repr(options))
    network = networks[key] = networks.get(key) or load_network(config.network, **options)
    setup = Setup(
        network, config.model, dict(config.trainer), config.seed, config.checkpoint_seconds, rank, shared, port,
        matmul_precision=config.matmul_precision,
    )  # fmt: skip
    if files is not None:
        setup = starting_from(setup, files, folder if agreed else None)
        cli.config.start = [photo.text for photo in setup.photos]
    # Written to config.yaml as a number: all processes, and those that resume later, must cut the same jobs.
    measured = cli.config.batch_size == "auto"
    cli.config.batch_size = batch_size_for(setup, config.targets, cli.config.batch_size)
    plan = make_plan(setup, config.targets, cli.config.batch_size)
    plan.fail_fast = config.fail_fast
    if origin is not None:
        then = cli.parser.parse_args([f"--config={json.dumps(origin.config)}"])
        then.batch_size = config.batch_size  # which no picture holds: its targets were one batch
        check_origin(origin, plan, differences(then.as_dict(), cli.config.as_dict()))
    names = [config.judges] if isinstance(config.judges, str) else config.judges or []
    return Run(cli, plan, words, measured, agreed, photos, load_judges(names, network, config.offline))


def _check_free(folder: RunFolder) -> None:
    """Check a folder that is to be created, unless a run was started there."""
    try:
        if not folder.begun():
            folder.check_new()
    except RunFolderError:
        if not folder.begun():  # since the first look
            raise


def _parse(args: list[str], words: list[str], resumed: RunFolder | None) -> FitCLI:
    try:
        return parse(args)
    except UsageError as error:
        if resumed is not None:
            saved_settings(parse([]), resumed)  # a clearer error if the run's own settings cannot be parsed
        raise located(error, words, parse) from None


def _find_rank(config: Any) -> tuple[RankInfo, bool, int | None]:
    """The rank of this process; whether all share the pictures of one job (ddp); the port where rank 0 then listens."""
    trainer = config.trainer
    name = strategy_name(trainer.strategy)
    rank = find_rank(count_devices(dict(trainer)), trainer.num_nodes)
    if config.out is None and (rank.launcher != "self" or rank.rank > 0):
        raise UsageError(f"under {rank.launcher}, all processes need the same folder: add --out FOLDER")
    if rank.ranks == 1:
        return rank, False, None
    if config.engine == "ray":
        raise UsageError(
            f"--engine ray starts the jobs itself, and {rank.launcher} starts {rank.ranks} processes; start it once"
        )
    if name == "single_device":
        raise UsageError(f"trainer.strategy single_device cannot use {rank.ranks} devices; leave it out")
    shared = name == "ddp"
    if shared and rank.launcher == "NODE_RANK" and not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise UsageError(
            "ddp over several nodes needs MASTER_ADDR and MASTER_PORT of node 0; set both, or use torchrun"
        )
    port = find_free_network_port() if shared and rank.launcher == "self" and rank.starts else None
    return rank, shared, port


@isolated()
def fit(args: list[str]) -> int:
    """Render what ``args`` ask for; returns the exit code."""
    run = prepare(args)
    with run.connected():
        folder = run.open()
        finished = run.finished()
        before = [record.status for job in run.plan.jobs for record in folder.done(job) or []].count("done")
        first = run.rank.rank == 0
        if first and finished:
            say(f"the run in {folder} is finished; nothing is left to do")
        if first and run.rank.ranks > 1 and len(run.plan.jobs) == 1 and not run.plan.setup.shared:
            note(
                f"lightning-fv: only one of {run.rank.ranks} devices renders, since {len(run.plan.targets)} targets make one job; "
                "a smaller --batch_size makes more jobs, --trainer.strategy ddp shares the pictures of one"
            )
        start = time.monotonic()
        outcome = run.execute()
    if first:
        print_summary(folder, outcome.records, time.monotonic() - start, before)
        if run.photos is not None and outcome.signal is None and not run.plan.errors:
            print_evidence(folder, report_run(folder, run.report_inputs()))
    if outcome.signal is not None:
        return 128 + outcome.signal
    # Launchers such as torchrun end all processes when one fails: only the first reports what is not done.
    return exit_code(outcome.records if first or run.plan.setup.shared else [], [run], folder.path)


def exit_code(records: Sequence[Record], runs: Sequence[Run], folder: Path) -> int:
    """0 if all targets are done and all files written, else 1; prints what could not be written."""
    reasons = {what: reason for run in runs for what, reason in run.plan.errors.reasons.items()}
    if reasons:
        listed = ", ".join(f"{what} ({reason})" for what, reason in reasons.items())
        note(f"lightning-fv: not written: {listed}; free some space and continue with --resume --out {folder}")
    lost = bool(reasons) or any(run.lost_files for run in runs)
    return 0 if not lost and all(record.status == "done" for record in records) else 1


def print_summary(folder: RunFolder, records: Sequence[Record], seconds: float, before: int) -> None:
    """Print how many targets are done, ``before`` of them before this run, and where the pictures are, finished and unfinished, of which there may
    be none."""
    lost = [record.status == "done" and record.image is None for record in records]
    counts = Counter("not written" if is_lost else record.status for record, is_lost in zip(records, lost, strict=True))
    others = "".join(f", {count} {status}" for status, count in counts.items() if status != "done" and count)
    already = f" ({before} {'was' if before == 1 else 'were'} already)" if 0 < before < counts["done"] else ""
    say(f"{counts['done']} of {len(records)} targets done{already}{others} in {seconds:.1f} s")
    if records and records[0].network.endswith(UNTRAINED):
        say(f"{'untrained':15}{records[0].network.removesuffix(UNTRAINED)} has random weights (--no-weights)")
    for status in ("dead", "diverged", "failed"):
        if names := [record.target for record in records if record.status == status]:
            say(f"{status:15}{', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}")
    if any(record.status == "dead" and record.steps < DEAD_STEPS * (MAX_RESTARTS + 1) for record in records):
        say(
            f"{'':15}after so few steps, more may help (--trainer.max_steps 128): new noise was not tried as often as it can be"
        )
    shown = {(folder.path / record.image).parent for record in records if record.image is not None}
    for label, place in (("pictures", folder.images), ("unfinished", folder.partial)):
        if place in shown:
            say(f"{label:15}{place}")
    say(f"contact sheet  {folder.sheet}")
    say(f"gallery        {folder.gallery}")
    if any(record.status in ("partial", "pending", "failed") for record in records):
        say(f"continue       lightning-fv --resume --out {folder}")
    say(f"TensorBoard    tensorboard --logdir {folder} --samples_per_plugin images=200")
