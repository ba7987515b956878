"""Mistakes in options, reported in one line with the nearest option or class that exists."""

import inspect
import re
import sys
from collections.abc import Collection

from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_fv.errors import nearest
from lightning_fv.objectives import Objective
from lightning_fv.parameterizations import Parameterization
from lightning_fv.transforms.keyed import KeyedTransform

_ALIASES = {
    "trainer.max_steps": "steps num_steps n_steps iterations iters epochs num_epochs max_epochs",
    "model.optimizer.lr": "lr learning_rate rate",
    "model.lr_scheduler": "scheduler schedule lr_schedule",
    "model.size": "image_size img_size resolution side width height px pixels",
    "targets": "target t facets class classes unit units neuron channel channels layer layers objective objectives logits",
    "out": "output output_dir outdir out_dir save_dir folder dir o",
    "batch_size": "batch bs b",
    "network": "net arch architectures model_name backbone",
    "config": "recipe preset cfg settings",
    "weights": "checkpoint ckpt pretrained weight",
    "seed": "random_seed s",
    "trainer.devices": "gpus device num_gpus workers num_workers",
    "trainer.accelerator": "gpu cpu cuda",
    "trainer.enable_progress_bar": "quiet silent progress progress_bar verbose",
    "model.transforms": "transform augmentation augmentations robustness",
    "model.penalties": "penalty regularization regularizer tv l1 l2",
    "model.parameterization": "param parametrization fourier pixel laplacian pyramid cppn alpha transparent",
    "trainer.callbacks": "callback",
    "print_config": "show_config dump_config",
}
_BY_ALIAS = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}

_BASES: dict[str, type] = {
    "model.parameterization": Parameterization,
    "model.transforms": KeyedTransform,
    "model.penalties": Objective,
    "model.optimizer": Optimizer,
    "model.lr_scheduler": LRScheduler,
    "trainer.callbacks": Callback,
    "trainer.logger": Logger,
    "trainer.profiler": Profiler,
    "targets": Objective,
}
"""What an option that takes classes is made of."""

_CLASS_ALIASES = {"tv": "TotalVariation", "fft": "Fourier", "jitter": "RandomWarp", "crop": "RandomWarp"}
_LISTS = ("model.transforms", "model.penalties", "trainer.callbacks", "targets")

_LONGEST = 100
"""Characters of a value that a message repeats."""


def explain(message: str, options: Collection[str], inner: bool = False) -> str:
    """The line of jsonargparse's report that says what is wrong, with the option it is about and what may have been meant.

    Args:
        message: jsonargparse's, of one or several lines.
        options: names of those that exist, dotted and without dashes.
        inner: whether they are the arguments of a class in the recipe.
    """
    key = re.search(r'Parser key "([\w.]+)"', message)
    option = key[1] if key else ""
    line = (
        _not_plain(message)
        or _unknown_option(message, options, inner)
        or _not_a_list(message, option)
        or _no_class(_reasons(message)[0], option, _given(message))
        or _other_value(message, option)
    )
    return line or _condense(message, option, inner)


def _not_plain(message: str) -> str | None:
    found = re.search(r"Unable to serialize instance (\S+)", message)
    if found is None:
        return None
    return f"a class named in the options has the setting {found[1]}, which config.yaml cannot hold; give it as text, or leave the class out"


def meant(name: str, options: Collection[str]) -> str | None:
    """The option that may have been meant by a name that is none, or None.

    Args:
        name: without dashes in front.
        options: names of those that exist.
    """
    name = name.replace("-", "_")
    group, _, last = name.rpartition(".")
    if group in ("", "model", "trainer") and last in _BY_ALIAS:
        alias = _BY_ALIAS[last]
        for known in (alias, alias.rpartition(".")[2]):
            if known in options or known.rpartition(".")[0] in options:
                return known
    by_last = {option.rpartition(".")[2]: option for option in reversed(list(options))}
    if last in by_last:
        return by_last[last]
    near = nearest(name, options, 1, cutoff=0.75)
    if near:
        return near[0]
    near = nearest(last, by_last, 1, cutoff=0.75)
    return by_last[near[0]] if near else None


def _unknown_option(message: str, options: Collection[str], inner: bool) -> str | None:
    if word := re.match(r"unrecognized arguments: (-*)([^\s=]+)", message):
        if not word[1]:
            return f"{_short(word[2])} is not an option; options begin with --, and lists need [...] (see --help)"
        guess = meant(word[2], options)
        return f"no option {word[1]}{_short(word[2])}" + (f"; did you mean --{guess}?" if guess else " (see --help)")
    found = re.fullmatch(
        r"Option '([^']+)' is not accepted|Group '(\w+)' does not accept option '([^']+)'", message.strip()
    )
    if found is None:
        return None
    if inner and found[1] == "class_path":
        return f"{message}; the arguments of a class stand below init_args"
    guess = meant(found[1] or f"{found[2]}.{found[3]}", options)
    if guess is not None:
        return f"{message}; did you mean {guess}?"
    known = ", ".join(option for option in options if "." not in option) if inner else ""
    return f"{message}; its arguments are {known}" if known else f"{message} (see --help)"


def _not_a_list(message: str, option: str) -> str | None:
    given = _given(message)
    single = re.match(r"\{|[A-Za-z_][\w.]*$", given)
    if option not in _LISTS or "Expected a <class 'list'>" not in message or not single:
        return None
    return f"{option} takes a list, also of one: [{_short(given)}]"


def _no_class(reason: str, option: str, given: str) -> str | None:
    """A class that does not exist, or is none of those that the option takes."""
    classes = _classes(_BASES[option]) if option in _BASES else {}
    prefix = f"{option}: " if option else ""
    if path := re.search(r"'?class_path'?[:=] ?'?([\w.]+)", given):
        given = path[1]
    if wrong := re.search(r"[Ii]mport path (?:\S+ )?does not correspond to a subclass of (\w+)", reason):
        known = f"; known are {', '.join(sorted(classes))}" if 0 < len(classes) < 20 else ""
        return f"{prefix}{_short(given)} is not a subclass of {wrong[1]}{known}"
    if wrong := re.match(r"Not a valid subclass of (\w+)", reason):
        return f"{prefix}{_short(given)} is not a subclass of {wrong[1]}; give class_path and init_args"
    if module := re.search(r"No module named '([\w.]+)'", reason):
        return f"{prefix}no module {module[1]!r}; check its name, and that it is installed or on PYTHONPATH"
    unknown = re.search(r"Expected a dot import path string: (\S+)", reason)
    attribute = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", reason)
    if unknown is not None:
        name = unknown[1]
    elif attribute is not None:
        name = given if re.fullmatch(r"[\w.]+", given) else attribute[2]
        if attribute[2] not in classes:
            return f"{prefix}no class {name!r}; {_in_module(attribute[1], attribute[2])}"
    else:
        return None
    near = _CLASS_ALIASES.get(name.lower()) or next(iter(nearest(name.rpartition(".")[2], classes, 1)), None)
    if near in classes:
        return f"{prefix}no class {name!r}; did you mean {near} ({classes[near]})?"
    return f"{prefix}no class {name!r}; give a class path, such as lightning_fv.parameterizations.Pixel"


def _in_module(module: str, name: str) -> str:
    """The nearest class of a module to a name that it does not have."""
    kinds = [known for known, kind in vars(sys.modules[module]).items() if inspect.isclass(kind)]
    near = next(iter(nearest(name, kinds, 1, cutoff=0.6)), None)
    return f"did you mean {near} ({module}.{near})?" if near else f"{module} has none of that name"


def _other_value(message: str, option: str) -> str | None:
    if option == "model" and "Unable to load config" in message:
        return "--model is the recipe, given as a YAML file; a network is named by --network"
    if option == "model.size":
        return f"model.size: {_short(_given(message))} is not a size; give pixels (64), a fraction (0.5) or [height, width]"
    if option in ("mean", "std"):
        return f"{option}: {_short(_given(message))} is no list of numbers; give one for each channel: --{option} 0.5 0.5 0.5"
    if option == "input_size":
        return f"input_size: {_short(_given(message))} is no size; give height and width, --input_size 224 224, or one number for both"
    return None


def _classes(base: type) -> dict[str, str]:
    """Import paths, by name, of the classes of a kind that are imported, without abstract and private ones."""
    found: dict[str, str] = {}
    kind: type
    for kind in base.__subclasses__():
        if not inspect.isabstract(kind) and not kind.__name__.startswith("_") and "<locals>" not in kind.__qualname__:
            found[kind.__name__] = _path(kind)
        found = _classes(kind) | found
    return found


def _path(kind: type) -> str:
    """The shortest path that a class can be imported from, such as ``torch.optim.Adam``."""
    parts = kind.__module__.split(".")
    modules = (".".join(parts[:count]) for count in range(2, len(parts)))
    holders = (name for name in modules if getattr(sys.modules.get(name), kind.__name__, None) is kind)
    return f"{next(holders, kind.__module__)}.{kind.__qualname__}"


def _given(message: str) -> str:
    given = re.search(r"(?:Given value|Got value): (.*)", message)
    return given[1] if given else ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _reasons(message: str) -> list[str]:
    """Why the value is none of the types that it may be: the reasons that say most, or the whole message."""
    found = re.split(r"\n\s*- ", message.partition("\n  Given value type")[0])[1:]
    reasons = [" ".join(reason.split()) for reason in found]
    relevant = [r for r in reasons if not re.match(r"Expected a (<class '(NoneType|list)'>|path)|Does not validate", r)]
    relevant = [r for r in relevant if r != "Expected a <class 'str'>"] or relevant  # an objective in a list of targets
    # Of a transform, this package's own are tried first; what is wrong with it as any other Module says more.
    first = r"Expected a dot import path string|Import path \S+ does not correspond to a subclass of KeyedTransform"
    relevant = [r for r in relevant if not re.match(first, r)] or relevant
    return relevant or [" ".join(re.sub(r'^Parser key "[\w.]+":', "", message).split())]


def _condense(message: str, option: str, inner: bool) -> str:
    reasons = _reasons(message)
    kinds = [re.fullmatch(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[(.+)\])", reason) for reason in reasons]
    text = reasons[0]
    if all(kinds) and _given(message):
        expected = " or ".join(kind[1] or kind[2] for kind in kinds if kind)
        text = f"expected {expected}, got {_short(_given(message))}"
    text = re.sub(r"(?: \(see --help\))?(?: Given value type: .*)?$", "", text)
    text = re.sub(r'Parser key "([\w.]+)":', r"\1:", text)
    text = re.sub(r"Expected an? <class '(\w+)'>\. Got value:", r"expected \1, got", text)
    text = re.sub(r"\S{200,}", lambda long: _short(long[0]), text)
    if option:
        text = f"{option}: {text}"
    return text if inner or text.endswith("?") else f"{text} (see --help)"
