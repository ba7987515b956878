"""The options of a run: this package's, ``--model.*`` of the visualizer, ``--trainer.*`` of Lightning's Trainer."""

import os
import re
import warnings
from argparse import SUPPRESS
from collections.abc import Sequence
from numbers import Number
from typing import Any, Literal, NoReturn

from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

# Imported for their names: options may then say `PeriodicBlur` instead of `lightning_fv.callbacks.PeriodicBlur`.
import lightning_fv.callbacks
import lightning_fv.parameterizations  # noqa: F401
from lightning_fv.commands.differences import difference_rows, differences
from lightning_fv.commands.evidence import add_photos_arguments
from lightning_fv.commands.from_picture import add_from_argument
from lightning_fv.commands.hints import explain
from lightning_fv.commands.imports import checked_imports
from lightning_fv.commands.nulls import refuse_nulls
from lightning_fv.commands.recipes import RECIPES, recipe_names
from lightning_fv.commands.start import add_start_argument
from lightning_fv.engines.config import refuse_only_render
from lightning_fv.engines.isolation import Precision
from lightning_fv.engines.ray_cluster import RayOptions
from lightning_fv.errors import FeatureVisualizationError, RunFolderError, UsageError
from lightning_fv.objectives import Objective
from lightning_fv.optimization.visualizer import FeatureVisualizer
from lightning_fv.runs.folder import RunFolder

DEFAULT_TARGETS = [
    f"logits:{name}"
    for name in ("goldfish", "monarch", "king penguin", "lion", "school bus", "pizza", "iPod", "espresso")
]


def _number(value: object) -> Number:
    if isinstance(value, Number) and not isinstance(value, bool):
        return value
    raise ValueError(f"not a number: {value}")


# The type of some arguments of torchvision's transforms, which jsonargparse does not know and writes as text.
register_type(Number, serializer=lambda value: value, deserializer=_number, fail_already_registered=False)


class _Parser(LightningArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """One line instead of the usage of a hundred options."""
        options = [
            action.option_strings[0].lstrip("-") if action.dest == SUPPRESS else action.dest
            for action in self._actions
            if action.option_strings and not action.dest.endswith("help")
        ]
        raise UsageError(explain(message, options, inner=getattr(self, "_inner_parser", False)))

    def parse_args(self, args: Any = None, *rest: Any, **options: Any) -> Any:
        """``--help`` shows this package's options, ``--help-all`` also those of the recipe and of Lightning's Trainer."""
        words = list(args or [])
        if "--help-all" in words:
            words = ["--help"]
        elif {"--help", "-h"} & set(words):
            self._hide_nested()
        with checked_imports():
            return super().parse_args(words, *rest, **options)

    def dump(self, *args: Any, **options: Any) -> Any:
        try:
            with checked_imports(), warnings.catch_warnings():
                warnings.filterwarnings("error", message=r"\s*Unable to serialize instance")
                return super().dump(*args, **options)
        except UserWarning as error:
            raise UsageError(
                f"{' '.join(str(error).split())}: a run's settings must be plain values, from which it can be resumed"
            ) from None

    def _hide_nested(self) -> None:
        for action in self._actions:
            if "." in action.dest or action.dest in ("data", "model", "ray", "seed_everything", "trainer"):
                action.help = SUPPRESS
        self._action_groups = [
            group for group in self._action_groups if any(action.help != SUPPRESS for action in group._group_actions)
        ]


class FitCLI(LightningCLI):
    """LightningCLI with targets, network and output folder."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = _Parser(**kwargs)
        parser.add_argument(
            "-c",
            "--config",
            action="config",
            help=f"a YAML file, or a shipped recipe: {', '.join(recipe_names())}. A line `base: NAME_OR_FILE` in a file puts "
            "its settings on top of another's. A config file is code: it names classes to run; "
            "your own are announced before they run.",
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--targets",
            type=list[str | Objective] | str,
            default=DEFAULT_TARGETS,
            help="what to render: logits:pizza, logits:3, logits:0-9, logits:all, probability:pizza, layer4:12, layer4:0-511, "
            "layer3 (whole layer), layer4:12@3,4 (neuron at row 3, column 4 of the map at the network's training size, and at "
            "the same relative place of other maps), blocks.3:12@20 (at token 20); several joined by + or as a YAML list, in which an "
            "objective may be given by class_path and init_args. layer4:12 x4: four pictures of the unit. "
            "sum(0.5*layer4:12 - 0.3*layer4:40): one target. vector:FILE:ROW@layer4: a direction. sae:FILE:12, sae:FILE:0-99@layer4: "
            "latents of a sparse autoencoder. inversion:, caricature:, style:PHOTO@layer4: what the layer keeps of a photo, the "
            "photo exaggerated, its textures",
        )
        add_network_arguments(parser)
        parser.add_argument(
            "--out",
            type=str | None,
            default=None,
            help="the run folder; default: lightning_logs/version_N. If it already holds this run, continue it: "
            "further processes that are started there share the work",
        )
        parser.add_argument(
            "--resume", action="store_true", help="continue the run in the folder given by --out, with its settings"
        )
        parser.add_argument("--seed", type=int, default=0, help="random seed; draws depend on it, target and step")
        add_from_argument(parser)
        add_start_argument(parser)
        add_photos_arguments(parser)
        parser.add_argument(
            "--batch_size",
            "--batch-size",
            type=int | Literal["auto"],
            default="auto",
            help="pictures rendered together; auto: 24, on a GPU as many as fit",
        )
        parser.add_argument(
            "--fail_fast",
            "--fail-fast",
            action="store_true",
            help="stop after the first batch with a target that is not done; --resume continues with the next",
        )
        parser.add_argument(
            "--checkpoint_seconds",
            "--checkpoint-seconds",
            type=float,
            default=5.0,
            help="seconds between checkpoints: the most that a kill costs",
        )
        text = "of matrix products on a GPU: float32, TF32, or bfloat16; convolutions always use TF32"
        parser.add_argument("--matmul_precision", "--matmul-precision", type=Precision, default="highest", help=text)
        parser.add_argument(
            "--engine",
            type=Literal["process", "ray"],
            default="process",
            help="what runs the jobs: processes of this machine, or a Ray cluster",
        )
        parser.add_class_arguments(RayOptions, "ray")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        if self.config.seed_everything is not False:  # before Lightning follows it
            raise UsageError("--seed_everything is not supported: no picture depends on global generators; give --seed")

    def instantiate_classes(self) -> None:
        """Only the recipe: the Trainer is made per job."""
        refuse_nulls(self.parser, self.config)
        try:
            with checked_imports():
                self.config_init = self.parser.instantiate_classes(self.config)
        except FeatureVisualizationError:
            raise
        except Exception as error:  # whatever the user's own class raises for its arguments
            raise UsageError(explain(str(error), ())) from error


def add_network_arguments(parser: LightningArgumentParser) -> None:
    """The options that name a network."""
    add = parser.add_argument
    names = "torchvision/BUILDER[:WEIGHTS], timm/NAME, antialiased/resnet50[:VARIANT], stylized/VARIANT, checkpoint:PATH, ensemble:NAME,NAME"
    add("--network", type=str, default="demo", help=f"network to visualize: demo (embedded), {names}")
    add("--weights", type=str | None, default=None, help="a file instead of the published weights")
    add("--no_weights", "--no-weights", action="store_true", help="an untrained network")
    add("--offline", action="store_true", help="use cached weights, never download")
    add("--architecture", type=str | None, default=None, help="for checkpoint:PATH, such as torchvision/resnet18")
    add("--mean", type=list[float] | None, default=None, help="per channel, instead of the network's own")
    add("--std", type=list[float] | None, default=None, help="per channel, instead of the network's own")
    add(
        "--input_size",
        "--input-size",
        type=int | tuple[int, int] | None,
        default=None,
        help="training height and width, or one number for both",
    )
    add("--categories", type=list[str] | str | None, default=None, help="class names, or a file with one name per line")
    add(
        "--channel_axes",
        "--channel-axes",
        type=dict[str, int] | None,
        default=None,
        help="channel axis by layer, where it cannot be inferred",
    )


def parse(args: Sequence[str]) -> FitCLI:
    """Parse the options of a run and instantiate its recipe.

    Raises:
        UsageError: what is wrong with them, in one line.
    """
    return FitCLI(
        FeatureVisualizer,
        args=list(args),
        run=False,
        subclass_mode_model=False,
        save_config_callback=None,
        seed_everything_default=False,
        auto_configure_optimizers=False,
        parser_kwargs={
            "prog": "lightning-fv fit",
            "allow_abbrev": False,
            "description": "Render pictures of what units of a network look for.",
            "default_config_files": [str(RECIPES / "default.yaml")],
        },
        trainer_defaults={"max_epochs": -1, "devices": 1, "log_every_n_steps": 8},
    )


def resume_args(args: list[str]) -> tuple[list[str], RunFolder | None]:
    """With ``--resume``, start from the run's own settings; returns the run folder."""
    if "--resume" not in args:
        return args, None
    words = "\0".join(args).replace("--out\0", "--out=").split("\0")
    out = [word[6:] for word in words if word.startswith("--out=")]  # the last one counts, as for the parser
    if not out:
        raise UsageError("--resume needs the run's folder: add --out FOLDER")
    folder = RunFolder(out[-1])
    if not folder.begun():
        raise RunFolderError(
            f"nothing to resume in {folder}: it holds no {folder.config.name}; leave out --resume to start a run"
        )
    check_settings(folder)
    return ["--config", str(folder.config), *_device_overrides(args), *args], folder


def check_settings(folder: RunFolder) -> None:
    """Check that a run can be continued: its folder holds nothing foreign and is writable, and its settings are as they were.

    Raises:
        RunFolderError: it cannot be continued.
    """
    folder.check_entries()
    if not os.access(folder.path, os.W_OK | os.X_OK):
        raise RunFolderError(f"{folder} is not writable; change its permissions, or copy it elsewhere")
    folder.check_settings()
    refuse_only_render(folder)


def _device_overrides(args: Sequence[str]) -> list[str]:
    """Options that undo a run's own choice of devices, if the command line makes another."""
    names = {arg.partition("=")[0] for arg in args}
    if re.search(r"--engine[= ]ray\b", " ".join(args)):
        return ["--trainer.devices", "1", "--trainer.num_nodes", "1", "--trainer.strategy", "auto"]
    if names & {"--trainer.devices", "--trainer.num_nodes", "--trainer.strategy"}:
        return ["--engine", "process"]
    return []


def agree(cli: FitCLI, folder: RunFolder) -> None:
    """Take the batch size of a run that was started, and refuse settings that differ from the run's.

    Raises:
        RunFolderError: which settings differ; or the run's own do not fit this version.
    """
    settings = saved_settings(cli, folder)
    if cli.config.batch_size == "auto":
        cli.config.batch_size = settings.batch_size
    if rows := difference_rows(differences(settings.as_dict(), cli.config.as_dict())):
        raise RunFolderError(
            f"{folder} was started with other settings; leave out the options that differ, or choose another folder",
            *rows,
        )


def saved_settings(cli: FitCLI, folder: RunFolder) -> Any:
    """The settings of a run that was started.

    Raises:
        RunFolderError: they were changed, or do not fit this version.
    """
    folder.check_settings()
    try:
        return cli.parser.parse_args(["--config", str(folder.config)])
    except UsageError as error:
        raise RunFolderError(
            f"{folder.config} does not fit this version of lightning_fv ({error}); resume with the version that started the run"
        ) from None
