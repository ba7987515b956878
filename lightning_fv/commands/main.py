"""The command line: LightningCLI with targets, network and output folder, and one clear line for every mistake."""

import argparse
import contextlib
import dataclasses
import errno
import os
import re
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import yaml
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported for their names: options may then say `PeriodicBlur` instead of `lightning_fv.callbacks.PeriodicBlur`.
import lightning_fv.callbacks
import lightning_fv.objectives
import lightning_fv.parameterizations  # noqa: F401
from lightning_fv.commands.recipes import RECIPES, recipe_args, recipe_names
from lightning_fv.engines.placement import Place, find_place, was_restarted
from lightning_fv.engines.ray import RayOptions, check
from lightning_fv.errors import FeatureVisualizationError, RunFolderError, UsageError
from lightning_fv.files import Unwritten
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.folder import check_new_folder, check_parent, refuse_links

if TYPE_CHECKING:
    from lightning_fv.engines.fleet import Member
    from lightning_fv.engines.rendering import Setup
    from lightning_fv.engines.strategies import PlacedEnvironment
    from lightning_fv.networks import VisionNetwork
    from lightning_fv.runs.job import Job
    from lightning_fv.runs.record import Record
    from lightning_fv.targets import Target

LOGS = Path("lightning_logs")
DEFAULT_TARGETS = [
    f"logits:{name}"
    for name in ("goldfish", "monarch", "king penguin", "lion", "school bus", "pizza", "iPod", "espresso")
]
TWINS = ("demo", "demo/antialiased", "demo/stylized")
STRATEGIES = ("study_transforms", "study_penalty", "study_upscaling")
# Settings that say where and how a run is computed, not what comes out.
_NEUTRAL = {
    "out", "resume", "config", "seed_everything", "checkpoint_seconds", "offline", "engine", "ray", "fail_fast",
    "model.chunk",
}  # fmt: skip
_NEUTRAL_TRAINER = {
    "accelerator", "devices", "num_nodes", "logger", "profiler", "detect_anomaly", "benchmark", "barebones",
    "enable_progress_bar", "enable_model_summary", "enable_checkpointing", "log_every_n_steps", "default_root_dir",
    "deterministic", "inference_mode", "model_registry",
}  # fmt: skip


class _Parser(LightningArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """One line instead of the usage of a hundred options."""
        raise UsageError(_condense(message))


class FitCLI(LightningCLI):
    """The options of a run: ours, ``--model.*`` of the visualizer, ``--trainer.*`` of Lightning's Trainer."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = _Parser(**kwargs)
        parser.add_argument(
            "-c",
            "--config",
            action="config",
            help=f"a YAML file, or a shipped recipe: {', '.join(recipe_names())}. A line `base: NAME_OR_FILE` in a file puts "
            "its settings on top of another's. A config file is code: it names classes to run.",
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--targets",
            type=list[str] | str,
            default=DEFAULT_TARGETS,
            help="what to draw: logits:pizza, logits:3, logits:0-9, logits:all, probability:pizza, layer4:12, layer4:0-511, "
            "layer3 (whole layer), layer4:12@3,4 (neuron at row 3, column 4); several joined by + or as a YAML list",
        )
        add_network_arguments(parser)
        parser.add_argument(
            "--out", type=str | None, default=None, help="the run folder; default: lightning_logs/version_N"
        )
        parser.add_argument("--resume", action="store_true", help="go on with the run in the folder given by --out")
        parser.add_argument(
            "--seed", type=int, default=0, help="all random draws are a function of it, the target and the step"
        )
        parser.add_argument(
            "--batch_size",
            "--batch-size",
            type=int | Literal["auto"],
            default="auto",
            help="pictures that are rendered together; auto: 16, on a GPU as many as its memory takes",
        )
        parser.add_argument(
            "--fail_fast",
            "--fail-fast",
            action="store_true",
            help="stop after the first batch with a target that is not done; --resume goes on with the next",
        )
        parser.add_argument(
            "--checkpoint_seconds",
            "--checkpoint-seconds",
            type=float,
            default=5.0,
            help="time between checkpoints: what a kill costs at most",
        )
        parser.add_argument(
            "--engine",
            type=Literal["process", "ray"],
            default="process",
            help="what runs the jobs: this process, or Ray",
        )
        parser.add_class_arguments(RayOptions, "ray")

    def instantiate_classes(self) -> None:
        """Only the recipe: the Trainer is made per job."""
        try:
            self.config_init = self.parser.instantiate_classes(self.config)
        except FeatureVisualizationError:
            raise
        except Exception as error:  # whatever a class of the user's own raises for its arguments
            raise UsageError(_condense(str(error))) from error


def main(args: Sequence[str] | None = None) -> int:
    """Do what ``args`` (by default the command line's) ask for: list ``layers``, ``compare`` networks, or render.

    Returns:
        0 done; 1 a target is not done; 2 bad usage; 130 or 143 stopped by Ctrl-C or SIGTERM.
    """
    words = list(sys.argv[1:] if args is None else args)
    with _warnings_of_one_line():
        return _main(words)


def _main(words: list[str]) -> int:
    try:
        if words[:1] == ["layers"]:
            from lightning_fv.commands.layers import list_layers

            return list_layers(words[1:])
        if words[:1] == ["compare"]:
            return _compare(words[1:])
        return _fit(words)
    except FeatureVisualizationError as error:
        print(f"lightning-fv: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise  # a mistake of ours, not the disk's
        print(f"lightning-fv: error: {error}; what was written before is whole", file=sys.stderr)
        return 1
    except SystemExit as exit_:  # --help and --print_config
        if exit_.__context__ is not None and isinstance(exit_.__context__, KeyboardInterrupt):
            return 128 + signal.SIGINT  # it came while Lightning made ready, which ends with 1
        if type(exit_).__name__ == "SIGTERMException":  # likewise
            return 128 + signal.SIGTERM
        return exit_.code if isinstance(exit_.code, int) else 1
    except KeyboardInterrupt:
        print("lightning-fv: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


@contextlib.contextmanager
def _warnings_of_one_line() -> Iterator[None]:
    """Our warnings as the errors: a line, without a place in the source. Those of others stay as they are."""
    before, package = warnings.formatwarning, str(Path(__file__).parents[1])

    def brief(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category is UserWarning and filename.startswith(package):
            return f"lightning-fv: warning: {message}\n"
        return before(message, category, filename, lineno, line)

    warnings.formatwarning = brief
    try:
        yield
    finally:
        warnings.formatwarning = before


def console() -> None:
    """Entry point of the ``lightning-fv`` command."""
    sys.exit(main())


@dataclass
class _Run:
    """A run that was found to be possible; nothing is written yet."""

    cli: FitCLI
    setup: "Setup"
    targets: "list[Target]"
    jobs: "list[Job]"
    resumed: Path | None
    words: list[str]
    """The command line, for ranks that this process starts."""
    place: Place
    failed: bool = False
    """Whether a rank came to a bad end."""
    unwritten: Unwritten = field(default_factory=Unwritten)

    @property
    def config(self) -> Any:
        return self.cli.config_init

    @property
    def share(self) -> "Sequence[Job]":
        """The jobs that this rank works on."""
        return self.jobs if self.setup.shared else self.place.share(self.jobs)

    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.resumed is not None and all(job.done(self.resumed) is not None for job in self.jobs)

    def folder(self, wanted: Path | None = None) -> Path:
        """The run's folder, made unless the run is resumed: the wanted, else that of ``--out``, else the next version."""
        from lightning_fv.engines.rendering import new_run_folder, next_version_folder

        if self.resumed is not None:
            return self.resumed
        wanted = wanted or (Path(self.config.out) if self.config.out is not None else next_version_folder(LOGS))
        settings = self.cli.config.clone()
        settings.fail_fast = False  # whoever resumes goes on, unless he asks for it again
        return new_run_folder(wanted, self.cli.parser.dump(settings, skip_none=False))

    def render(self, folder: Path) -> "tuple[list[Record], int | None]":
        """The records of all targets, and the signal that stopped the run."""
        from lightning_fv.engines.fleet import hold_slot
        from lightning_fv.engines.rendering import finish_run

        if self.place.ranks > 1 and len(self.jobs) == 1 and not self.setup.shared:
            print(
                f"lightning-fv: one device of {self.place.ranks} renders, as {len(self.targets)} targets fill one job; "
                "a smaller --batch_size makes more jobs, --trainer.strategy ddp shares the pictures of one",
                file=sys.stderr,
            )
            self.place, self.setup = Place(), dataclasses.replace(self.setup, environment=None)
        with hold_slot(folder, self.place.rank):
            left = [job for job in self.jobs if job.done(folder) is None]
            for job in left:  # also other ranks', which are known to be ready by their marks
                job.unmark(folder)
            records, received = (
                self._render_together(folder) if left and self.place.ranks > 1 else self._render_alone(folder)
            )
            finish_run(folder, records, self.jobs, self.unwritten)
        return records, received

    def _render_alone(self, folder: Path) -> "tuple[list[Record], int | None]":
        from lightning_fv.engines.ray import render_on_ray
        from lightning_fv.engines.rendering import render_jobs, unfinished

        if self.config.engine == "ray":
            results = render_on_ray(self.setup, self.jobs, folder, self.config.ray, self.config.fail_fast)
        else:
            results = render_jobs(self.setup, self.jobs, folder, self.unwritten, self.config.fail_fast)
        found, received = {}, None
        for number, result in enumerate(results, 1):
            found[result.job.id] = result.records
            received = result.signal
            if len(self.jobs) > 1 and result.pictures is not None:
                count = sum(map(len, found.values()))
                print(f"job {number} of {len(self.jobs)}: {count} of {len(self.targets)} targets", file=sys.stderr)
        return [r for job in self.jobs for r in found.get(job.id) or unfinished(self.setup, job.targets)], received

    def _render_together(self, folder: Path) -> "tuple[list[Record], int | None]":
        """Rank 0: render its share, wait for the others, and gather what is there."""
        from lightning_fv.engines.fleet import Member
        from lightning_fv.engines.rendering import begun

        command = [*self.words, "--out", str(folder)]
        shared, port = self.setup.shared, self.setup.environment.port if self.setup.environment else None
        show = not shared and self.config.trainer.enable_progress_bar in (None, True)
        with Member(folder, self.place, self.jobs, command=command, port=port, shared=shared, show=show) as member:
            self._work(member, folder)
            wrong = member.wait()
        records: list[Record] = []
        missing = []
        for job in self.jobs:
            found = job.done(folder)
            if found is None:
                missing.append(job)
                found = job.partial(folder) or begun(self.setup, job, folder)
            records += found
        self.failed = bool(wrong) and member.received is None
        for clause in wrong:
            print(f"lightning-fv: {clause}", file=sys.stderr)
        if missing and member.received is None:
            names = [f"{job.id} ({job.targets[0].text}{', ...' if len(job.targets) > 1 else ''})" for job in missing]
            names = [*names[:8], *([f"{len(names) - 8} more"] if len(names) > 8 else [])]
            told = f"{len(missing)} of {len(self.jobs)} jobs are not done: {', '.join(names)}"
            print(f"lightning-fv: {told}; go on with --resume --out {folder}", file=sys.stderr)
        return records, member.received

    def join(self) -> int:
        """Another rank: render its share in the folder that rank 0 makes; returns the exit code."""
        from lightning_fv.engines.fleet import Member, hold_slot, meet

        folder = Path(self.config.out)
        below = range(self.place.rank, self.place.rank + self.place.starts + 1)
        theirs = self.jobs if self.setup.shared else [job for r in below for job in self.jobs[r :: self.place.ranks]]
        if all(job.done(folder) is not None for job in theirs):  # or there are more ranks than jobs
            return 0
        launch = meet(folder, self.place, self.jobs, lambda: _agree(self.cli, folder))
        command, shared = [*self.words, "--out", str(folder)], self.setup.shared
        with (
            hold_slot(folder, self.place.rank),
            Member(folder, self.place, self.jobs, launch=launch, command=command, shared=shared) as member,
        ):
            self._work(member, folder)
            wrong = member.wait()
        for clause in wrong:
            print(f"lightning-fv: {clause}", file=sys.stderr)
        self.failed = bool(wrong)
        return 128 + member.received if member.received is not None else _exit_code([], [self], folder)

    def _work(self, member: "Member", folder: Path) -> None:
        """Render this rank's share, until it is done or a signal comes."""
        import torch.distributed
        from lightning.pytorch.callbacks import ProgressBar
        from lightning.pytorch.utilities.exceptions import SIGTERMException

        from lightning_fv.engines.rendering import render_jobs
        from lightning_fv.runs.job import PARTIAL
        from lightning_fv.runs.record import write_manifest

        setup = self.setup
        if not setup.shared:  # one line for the whole fleet takes the place of the bars
            given = [c for c in setup.options.get("callbacks") or [] if not isinstance(c, ProgressBar)]
            options = {**setup.options, "callbacks": given, "enable_progress_bar": False}
            setup = dataclasses.replace(setup, options=options)
        fail_fast = self.config.fail_fast
        results = iter(render_jobs(setup, self.share, folder, self.unwritten, fail_fast))
        member.working = True
        try:
            while member.received is None and not (fail_fast and member.any_failed()):
                if (result := next(results, None)) is None:
                    break
                if result.signal is None:
                    member.finished(0 if result.pictures is None else len(result.records), result.spoilt)
                else:
                    member.received = member.received or result.signal
                if (result.failed or result.signal is not None) and (not setup.shared or self.place.rank == 0):
                    result.job.folder(folder).mkdir(exist_ok=True)
                    write_manifest(result.job.folder(folder) / PARTIAL, result.records)
        except SIGTERMException:  # it came before the first step, when only Lightning was there to note it
            member.received = signal.SIGTERM
        except RuntimeError as error:
            if not (setup.shared and re.search(r"gloo|nccl|connection|peer", str(error), re.IGNORECASE)):
                raise
            told = str(error).strip().splitlines()[0]
            print(f"lightning-fv: ddp needs all ranks, and one is gone ({told[:120]}); "
                  f"go on with --resume --out {folder}", file=sys.stderr)  # fmt: skip
            raise SystemExit(1) from None
        finally:
            member.working = False
        if setup.shared and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _connected(runs: "Iterable[_Run]") -> contextlib.AbstractContextManager[None]:
    """With what the runs need to render, if anything is left to do; found before any folder is made."""
    for run in runs:
        if run.config.engine == "ray" and not run.finished():
            from lightning_fv.engines.ray import cluster

            return cluster(run.config.ray, run.setup.options)
    return contextlib.nullcontext()


def _prepare(args: list[str], networks: "dict[tuple[str, str], VisionNetwork]") -> _Run:
    """Find everything that is wrong with a run before any work.

    Args:
        args: the command line.
        networks: those loaded already, by name and options; the run's is added.
    """
    words = args
    args, resumed = _resume_args(recipe_args(args))
    with warnings.catch_warnings():
        # Lightning suspects a mistake where both args and sys.argv are given; here they are the same.
        warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
        try:
            cli = _parse(args)
        except UsageError:
            if resumed is not None:
                _check_readable(resumed)
            raise
    if resumed is not None:
        _agree(cli, resumed)
    elif cli.config.out is not None and was_restarted() and (Path(cli.config.out) / "config.yaml").is_file():
        return _prepare([*words, "--resume", "--out", str(cli.config.out)], networks)
    if cli.config.seed_everything not in (False, None):
        raise UsageError("--seed_everything is not used, the global generators have no say; give --seed")
    config = cli.config_init
    if config.engine == "ray":
        check(config.ray, config.trainer)

    from lightning_fv.engines.rendering import Setup, batch_size_for, plan
    from lightning_fv.networks import load_network  # from here on work begins
    from lightning_fv.targets import parse_targets

    parse_targets(config.targets)  # what can be wrong without a network is said before it is loaded
    place, environment, shared = _find_place(config)
    if config.engine == "ray" and place.ranks > 1:
        raise UsageError(
            f"--engine ray starts the jobs itself, and {place.launcher} starts {place.ranks} ranks; start it once"
        )
    if resumed is None and place.rank == 0:
        check_parent(LOGS) if config.out is None else check_new_folder(Path(config.out))
    options = network_options(config)
    key = (config.network, repr(options))
    network = networks[key] = networks.get(key) or load_network(config.network, **options)
    trainer = dict(config.trainer)
    setup = Setup(network, config.model, trainer, config.seed, config.checkpoint_seconds, environment, shared)
    # Written to config.yaml as a number: jobs are cut by it, here, on all ranks and by whoever resumes elsewhere.
    if place.rank > 0 and cli.config.batch_size == "auto":
        from lightning_fv.engines.fleet import await_rank_0

        folder = Path(config.out)
        await_rank_0(folder, place, (folder / "config.yaml").is_file)
        _agree(cli, folder)
    cli.config.batch_size = batch_size_for(setup, config.targets, cli.config.batch_size)
    targets, jobs = plan(setup, config.targets, cli.config.batch_size)
    if shared and len(jobs) > 1:
        raise UsageError(
            f"ddp shares the pictures of one job, and {len(targets)} targets fill {len(jobs)} of them; "
            "take --trainer.strategy independent, or fewer targets"
        )
    if resumed is not None and config.trainer.strategy == "ddp":
        _refuse_other_jobs(resumed, jobs)
    return _Run(cli, setup, targets, jobs, resumed, words, place)


def _find_place(config: Any) -> "tuple[Place, PlacedEnvironment | None, bool]":
    """Which rank this process is; what Lightning is told of it, if there are several; whether they share pictures."""
    from lightning_fv.engines.fleet import MEETING, SILENCE, seconds_of
    from lightning_fv.engines.rendering import count_devices
    from lightning_fv.engines.strategies import PlacedEnvironment, strategy_name

    trainer = config.trainer
    name = strategy_name(trainer.strategy)
    place = find_place(count_devices(dict(trainer)), trainer.num_nodes)
    if config.out is None and (place.launcher != "self" or place.rank > 0):
        raise UsageError(f"all ranks must be given the same folder under {place.launcher}: add --out FOLDER")
    if place.ranks == 1:
        return place, None, False
    if name == "single_device":
        raise UsageError(f"trainer.strategy single_device has no use for {place.ranks} devices; leave it out")
    for setting in (SILENCE, MEETING):
        seconds_of(setting)  # what is wrong with them is said before any work
    shared = name == "ddp"
    if shared and place.launcher == "NODE_RANK" and not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise UsageError(
            "ddp over several nodes needs MASTER_ADDR and MASTER_PORT of node 0; set both, or use torchrun"
        )
    port = find_free_network_port() if shared and place.launcher == "self" and place.starts else None
    return place, PlacedEnvironment(place, port), shared


def _refuse_other_jobs(folder: Path, jobs: "Sequence[Job]") -> None:
    begun = {file.name for file in (folder / "jobs").glob("*")}
    if begun and begun.isdisjoint(job.id for job in jobs):
        raise RunFolderError(
            f"{folder} was begun with another number of devices, whose transforms go into its pictures; "
            "resume with as many, or choose another folder"
        )


def _fit(args: list[str]) -> int:
    run = _prepare(args, {})
    if run.place.rank > 0:
        return run.join()
    with _connected([run]):
        folder = run.folder()
        if run.finished():
            print(f"{folder}: the run is finished, nothing is left to do")
        start = time.monotonic()
        records, received = run.render(folder)
    _report(folder, records, time.monotonic() - start)
    return 128 + received if received is not None else _exit_code(records, [run], folder)


def _compare(words: list[str]) -> int:
    """Runs as of `_fit`, one per network or recipe, each in a folder of its own, then side by side."""
    from lightning_fv.comparison import compare_runs, markdown
    from lightning_fv.engines.rendering import next_version_folder

    options, shared = _compare_parser().parse_known_args(words)
    weights = options.weights or ["default"] * len(options.networks)
    if len(weights) != len(options.networks):
        raise UsageError(f"--weights: {len(weights)} files for {len(options.networks)} networks; give one for each")
    if any(word.partition("=")[0] == "--network" for word in shared):
        raise UsageError("--network is not used here; name the networks to compare by --networks")
    if options.resume and options.out is None:
        raise UsageError("--resume needs the comparison's folder: add --out FOLDER")
    if options.resume and options.out.is_dir():
        refuse_links(options.out)
    elif options.out is not None:
        check_new_folder(options.out)

    by_network = {
        name: ["--network", name, *([] if file == "default" else ["--weights", file])]
        for name, file in zip(options.networks, weights, strict=True)
    }
    columns = dict(by_network)
    if options.strategies is not None:
        first = by_network[options.networks[0]]
        columns = {recipe: [*first, "--config", recipe] for recipe in options.strategies or STRATEGIES}
    folders = {name: re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") for name in columns}
    if len({name.lower() for name in folders.values()}) < len(columns) or len(by_network) < len(options.networks):
        raise UsageError(f"the columns {', '.join(columns)} cannot be told apart by their folders; name each once")

    if find_place(1, 1).ranks > 1:
        raise UsageError("compare starts its ranks itself; start it once, with --trainer.devices, not by a launcher")

    networks: dict[tuple[str, str], VisionNetwork] = {}
    runs: dict[str, _Run] = {}
    for name, own in columns.items():
        place = ["--out", str(options.out / folders[name])] if options.out is not None else []
        begun = options.resume and (options.out / folders[name] / "config.yaml").is_file()
        runs[name] = _prepare([*shared, *own, *place, *(["--resume"] if begun else [])], networks)
    if options.resume and not any(run.resumed for run in runs.values()):
        raise RunFolderError(f"nothing to resume in {options.out}: no run of this comparison was begun there")
    for own in by_network.values():  # all networks rate the pictures, also those that make none
        _prepare([*shared, *own, "--targets", "logits:0", "--batch_size", "1"], networks)

    out = options.out or next_version_folder(LOGS, "comparison")
    start, everything = time.monotonic(), []
    with _connected(runs.values()):
        for number, (name, run) in enumerate(runs.items(), 1):
            print(f"column {number} of {len(runs)}: {name}", file=sys.stderr)
            folder = run.folder(out / folders[name])
            before = {r.id for job in run.jobs for r in job.done(folder) or []} if run.config.fail_fast else set()
            records, received = run.render(folder)
            everything += records
            if received is not None:
                print(f"stopped; go on with the same options and --resume --out {out}", file=sys.stderr)
                return 128 + received
            if run.config.fail_fast and any(r.status != "done" and r.id not in before for r in records):
                print(f"{name} has targets that are not done; go on by --resume --out {out}", file=sys.stderr)
                return _exit_code(records, [run], out)
    rated = compare_runs({name: out / folders[name] for name in runs}, list(networks.values()), out)
    print(markdown(rated))
    print(f"{len(everything)} pictures in {time.monotonic() - start:.1f} s")
    print(f"side by side   {out / 'comparison.png'}")
    print(f"page           {out / 'index.html'}")
    print(f"TensorBoard    tensorboard --logdir {out} --samples_per_plugin images=200")
    return _exit_code(everything, list(runs.values()), out)


def _compare_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning-fv compare",
        description="Render the same targets, with the same seeds, on several networks or by several recipes, side by side.",
        epilog="All other options are those of lightning-fv and hold for every column: --targets, --config, --seed, --model.*, "
        "--trainer.* ... Each column is a run in a folder of its own inside of the output folder.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--networks", nargs="+", default=list(TWINS), metavar="NAME", help=f"default: {' '.join(TWINS)}"
    )
    parser.add_argument("--weights", nargs="+", metavar="FILE", help="a file per network; 'default' for the published")
    parser.add_argument(
        "--strategies",
        nargs="*",
        metavar="RECIPE",
        help=f"a column per recipe, on the first network; the others rate the pictures. Default: {' '.join(STRATEGIES)}",
    )
    parser.add_argument("--out", type=Path, help="output folder; default: lightning_logs/comparison_N")
    parser.add_argument("--resume", action="store_true", help="go on with the comparison in the folder given by --out")
    return parser


def _condense(message: str) -> str:
    """The line of jsonargparse's report that says what is wrong, with the option it is about."""
    key = re.search(r'Parser key "([\w.]+)"', message)
    name = f"{key[1]}: " if key else ""
    unknown = re.search(r"Expected a dot import path string: (\S+)", message)
    if unknown:
        return f"{name}no class {unknown[1]!r}; give a class path, such as lightning_fv.parameterizations.Pixel"
    found = re.split(r"\n\s*- ", message.partition("\n  Given value type")[0])[1:]
    reasons = [" ".join(reason.split()) for reason in found]
    telling = [r for r in reasons if not re.match(r"Expected a (<class '(NoneType|list)'>|path)|Does not validate", r)]
    kinds = [re.fullmatch(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[(.+)\])", reason) for reason in telling]
    given = re.search(r"Given value: (.*)", message)
    text = f"{name}{telling[0]}" if telling else " ".join(message.split())
    if telling and all(kinds) and given:
        text = f"{name}expected {' or '.join(kind[1] or kind[2] for kind in kinds if kind)}, got {given[1]}"
    return f"{text.removesuffix(' (see --help)')} (see --help)"


def _parse(args: list[str]) -> FitCLI:
    return FitCLI(
        FeatureVisualizer,
        args=args,
        run=False,
        subclass_mode_model=False,
        save_config_callback=None,
        seed_everything_default=False,
        auto_configure_optimizers=False,
        parser_kwargs={"default_config_files": [str(RECIPES / "default.yaml")]},
        trainer_defaults={"max_epochs": -1, "devices": 1, "log_every_n_steps": 10},
    )


def add_network_arguments(parser: LightningArgumentParser) -> None:
    """The options that name a network."""
    add = parser.add_argument
    names = (
        "torchvision/BUILDER[:WEIGHTS], timm/NAME, antialiased/resnet50[:VARIANT], stylized/VARIANT, checkpoint:PATH"
    )
    add("--network", type=str, default="demo", help=f"what to look at: demo (embedded), {names}")
    add("--weights", type=str | None, default=None, help="a file instead of the published weights")
    add("--no_weights", "--no-weights", action="store_true", help="an untrained network")
    add("--offline", action="store_true", help="use cached weights, never the network")
    add("--architecture", type=str | None, default=None, help="of checkpoint:PATH, such as torchvision/resnet18")
    add("--mean", type=list[float] | None, default=None, help="per channel, instead of the network's own")
    add("--std", type=list[float] | None, default=None, help="per channel, instead of the network's own")
    add("--input_size", "--input-size", type=tuple[int, int] | None, default=None, help="height and width it is for")
    add("--categories", type=list[str] | str | None, default=None, help="class names, or a file of one name a line")
    add(
        "--channel_axes",
        "--channel-axes",
        type=dict[str, int] | None,
        default=None,
        help="channel axis by layer, where it cannot be told",
    )


def network_options(config: Any) -> dict[str, Any]:
    """What ``load_network`` is to be told, from parsed options."""
    if config.no_weights and config.weights is not None:
        raise UsageError("give either --weights or --no_weights")
    categories = config.categories
    if isinstance(categories, str):
        if not Path(categories).is_file():
            raise UsageError(f"--categories {categories}: no such file; give a text file of one name a line, or a list")
        try:
            text = Path(categories).read_text(encoding="utf-8")
        except ValueError as error:
            raise UsageError(f"--categories {categories} is not UTF-8 text ({error}); save it as such") from None
        categories = text.removesuffix("\n").split("\n")  # not splitlines, which knows of ten more ends of a line
    return {
        "weights": None if config.no_weights else config.weights or "default",
        "offline": config.offline,
        "architecture": config.architecture,
        "mean": config.mean,
        "std": config.std,
        "input_size": config.input_size,
        "categories": categories,
        "channel_axes": config.channel_axes,
    }


def _resume_args(args: list[str]) -> tuple[list[str], Path | None]:
    """With ``--resume``, start from the run's own settings; returns the run folder."""
    if "--resume" not in args:
        return args, None
    out = [arg[6:] for arg in args if arg.startswith("--out=")]
    out += [args[i + 1] for i, arg in enumerate(args[:-1]) if arg == "--out"]
    if not out:
        raise UsageError("--resume needs the run's folder: add --out FOLDER")
    config = Path(out[-1]) / "config.yaml"
    if not config.is_file():
        raise RunFolderError(
            f"nothing to resume in {out[-1]}: it holds no config.yaml; leave out --resume to start a run"
        )
    try:
        whole = isinstance(yaml.safe_load(config.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, yaml.YAMLError):
        whole = False
    if not whole:
        raise RunFolderError(f"{config} is damaged: it does not hold a run's settings")
    refuse_links(config.parent)
    if not os.access(config.parent, os.W_OK | os.X_OK):
        raise RunFolderError(f"{config.parent} may not be written; make it so, or copy it to where it may")
    return ["--config", str(config), *_other_place(args), *args], Path(out[-1])


def _other_place(args: Sequence[str]) -> list[str]:
    """What undoes a run's own way to its devices, where the command line names another."""
    names = {arg.partition("=")[0] for arg in args}
    if re.search(r"--engine[= ]ray\b", " ".join(args)):
        return ["--trainer.devices", "1", "--trainer.num_nodes", "1", "--trainer.strategy", "auto"]
    if names & {"--trainer.devices", "--trainer.num_nodes", "--trainer.strategy"}:
        return ["--engine", "process"]
    return []


def _check_readable(folder: Path) -> None:
    """Say so if a run's own settings are what cannot be parsed."""
    file = folder / "config.yaml"
    try:
        _parse(["--config", str(file)])
    except UsageError as error:
        raise RunFolderError(
            f"{file} does not fit this version of lightning_fv ({error}); resume with the version that began the run"
        ) from None


def _agree(cli: FitCLI, folder: Path) -> None:
    """Take the batch size that a run has found, and refuse settings that are not the run's."""
    settings = cli.parser.parse_args(["--config", str(folder / "config.yaml")])
    if cli.config.batch_size == "auto":
        cli.config.batch_size = settings.batch_size
    saved, asked = _flat(settings.as_dict()), _flat(cli.config.as_dict())
    rows = [
        f"  {key}: {saved.get(key)} in the run, {asked.get(key)} now"
        for key in sorted(saved.keys() | asked.keys())
        if saved.get(key) != asked.get(key)
    ]
    if rows:
        lines = "\n".join(rows)
        raise RunFolderError(
            f"{folder} was begun with other settings; leave them out, or choose another folder\n{lines}"
        )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        name = f"{prefix}{key}"
        if name in _NEUTRAL or (prefix == "trainer." and key in _NEUTRAL_TRAINER):
            continue
        if name == "trainer.strategy" and entry != "ddp":  # how many ddp's ranks are is in the ids of its jobs
            continue
        if isinstance(entry, Mapping):
            flat |= _flat(entry, f"{name}.")
        else:
            flat[name] = entry
    return flat


def _exit_code(records: Sequence[Any], runs: Sequence[_Run], folder: Path) -> int:
    reasons = {what: reason for run in runs for what, reason in run.unwritten.reasons.items()}
    if reasons:
        listed = ", ".join(f"{what} ({reason})" for what, reason in reasons.items())
        print(f"lightning-fv: not written: {listed}; make room and add --resume --out {folder}", file=sys.stderr)
    failed = bool(reasons) or any(run.failed for run in runs)
    return 0 if not failed and all(record.status == "done" for record in records) else 1


def _report(folder: Path, records: Sequence[Any], seconds: float) -> None:
    lost = [record.status == "done" and record.image is None for record in records]
    counts = Counter("not written" if gone else record.status for record, gone in zip(records, lost, strict=True))
    waiting = sum(record.steps == 0 and "error" not in record.scores for record in records)
    counts["partial"] -= waiting
    counts["not begun"] = waiting
    others = "".join(f", {count} {status}" for status, count in counts.items() if status != "done" and count)
    print(f"{counts['done']} of {len(records)} targets done{others} in {seconds:.1f} s")
    for status in ("dead", "diverged"):
        if names := [record.target for record in records if record.status == status]:
            print(f"{status:15}{', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}")
    print(f"pictures       {folder / 'images'}")
    print(f"contact sheet  {folder / 'sheet.png'}")
    print(f"gallery        {folder / 'gallery.html'}")
    if any(record.status == "partial" for record in records):
        print(f"go on          lightning-fv --resume --out {folder}")
    print(f"TensorBoard    tensorboard --logdir {folder} --samples_per_plugin images=200")
