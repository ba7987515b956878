"""Shipped recipes and config files: what ``--config`` names, and files that build upon another by ``base``."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from lightning_fv.errors import UsageError, nearest

VALUES = 100_000
"""Values in a config file, more than any has: aliases of aliases would multiply beyond any memory."""

DIGITS = 400
"""Digits of a number in a config file; the largest float has 309."""

RECIPES = Path(__file__).parents[1] / "recipes"

_CHANGE_PHOTOS = ("deepdream",)
"""Recipes that make no sense from noise, and of which no part refuses it."""


def recipe_names() -> list[str]:
    """Names of the shipped recipes, in alphabetical order."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def recipe_args(args: Sequence[str]) -> list[str]:
    """Prepare the command line for the parser, which overlays one ``--config`` over the other.

    Config files come first, so that other options win wherever they stand. The name of a recipe becomes its file. A file that
    begins with ``base: NAME_OR_FILE`` becomes two: its base, and its own settings without that line, so that ``base`` is in
    no parsed, printed or saved configuration.

    Raises:
        UsageError: no such file or recipe; or a base that is not a name, is missing, or leads back to the file.
    """
    configs, rest = [], []
    words = iter(args)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--config", "-c"):
            name = value if equals else next(words, "")
            configs += [f"--config={config}" for _, config in _overlays(_find(name, Path(), "--config"), ())]
        else:
            rest.append(word)
    return configs + rest


def located(error: UsageError, args: Sequence[str], parse: Callable[[list[str]], object]) -> UsageError:
    """An error of the parser, with the config file and the place in it if it comes from there, and not from other options.

    Args:
        error: what the parser said of the whole command line.
        args: the command line, before `recipe_args`.
        parse: raises the same error for options that have the same mistake.
    """
    given: list[str] = []
    flags = ("--config", "-c")
    words = iter(args)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in flags:
            continue
        for file, config in _overlays(_find(value if equals else next(words, ""), Path(), "--config"), ()):
            given.append(f"--config={config}")
            try:
                parse(given)
            except UsageError as again:
                if str(again) != str(error) or file.parent == RECIPES:
                    return error
                text = str(error).replace(' in "<unicode string>"', "").removesuffix(" (see --help)")
                if place := _place(file, text):
                    text = f"{place}: " + re.sub(r"^[\w.]+: (?=Option|Group)", "", text)
                return UsageError(f"{file}: {text}")
    return error


def _place(file: Path, text: str) -> str:
    """Where in a config file the option stands that an error says is none, such as ``model.optimizer.init_args.lrr``."""
    found = re.search(r"(?:Group '([^']+)' does not accept o|O)ption '([^']+)'", text)
    node = _compose(file)
    if found is None or node is None:
        return ""
    name = ".".join(filter(None, found.groups())).split(".")
    places = (place for place in _places(node) if place[-len(name) :] == name)
    return ".".join(next(places, []))


def _places(node: yaml.Node, above: Sequence[str] = ()) -> Iterator[list[str]]:
    """The keys of a config file, each after those that it stands below."""
    inner: Iterable[tuple[str, yaml.Node]] = ()
    if isinstance(node, yaml.MappingNode):
        inner = ((str(key.value), value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        inner = ((str(number), value) for number, value in enumerate(node.value))
    for key, value in inner:
        yield [*above, key]
        yield from _places(value, (*above, key))


def check_start_given(args: Sequence[str], start: object) -> None:
    """Check that a recipe that changes a photo is given one.

    Args:
        args: what `recipe_args` returned; ``--start=null`` asks for noise.
        start: the option ``--start``, from wherever it came.

    Raises:
        UsageError: the pictures would start from noise.
    """
    name = changes_photo(args)
    if name is not None and not start and "--start=null" not in args:
        raise UsageError(f"the recipe {name} changes a photo, and pictures would start from noise; give --start FILE")


def changes_photo(args: Sequence[str]) -> str | None:
    """The name of the recipe among arguments, as `recipe_args` returned them, that makes sense only from a photo."""
    return next((name for name in _CHANGE_PHOTOS if f"--config={RECIPES / name}.yaml" in args), None)


def _find(name: str, folder: Path, source: str) -> Path:
    """The file of that name, relative to a folder, or else the recipe."""
    file = folder / name
    with contextlib.suppress(OSError):  # a name too long for any file
        if file.is_file():
            return file
    if name in recipe_names():
        return RECIPES / f"{name}.yaml"
    near = nearest(name, recipe_names())
    hint = f"did you mean {near[0]}?" if near else f"recipes: {', '.join(recipe_names())}"
    raise UsageError(f"{source} {name}: no such file and no such recipe; {hint}")


def _overlays(file: Path, above: tuple[Path, ...]) -> list[tuple[Path, str]]:
    """What to give to the parser for a file, the lowest base first: each file with its path, or with its text if it has a base.

    Args:
        above: files that build upon this one.
    """
    chain = (*above, file)
    if file.resolve() in {other.resolve() for other in above}:
        raise UsageError(f"{' -> '.join(map(str, chain))}: each is the base of the one before; remove one `base`")
    node = _compose(file)
    if not isinstance(node, yaml.MappingNode):
        return [(file, str(file))]
    bases = [value for key, value in node.value if key.value == "base"]
    if not bases:
        return [(file, str(file))]
    (base, *others) = bases
    if others or not isinstance(base, yaml.ScalarNode) or not base.value:
        raise UsageError(f"{file}: base must be the name of one recipe or config file")
    node.value = [(key, value) for key, value in node.value if key.value != "base"]
    # Written from the nodes, not from values: the parser reads 1e-3 as a number, PyYAML as text.
    own = yaml.serialize(node, Dumper=yaml.SafeDumper) if node.value else "{}"
    return [*_overlays(_find(base.value, file.parent, f"{file}: base"), chain), (file, own)]


def _compose(file: Path) -> yaml.Node | None:
    """The content of a config file; None if it is not YAML, which the parser explains.

    Raises:
        UsageError: it cannot be read, or holds what the parser could not cope with.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        values = 0 if node is None else _count(file, node, {})
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check its path") from None
    except RecursionError:
        raise UsageError(
            f"{file} is nested too deeply for a config file; --print_config shows what one looks like"
        ) from None
    except (ValueError, yaml.YAMLError):
        return None
    if values > VALUES:
        raise UsageError(f"{file} holds more than {VALUES} values once its aliases (*name) are expanded; use fewer")
    return node


def _count(file: Path, node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, aliases expanded: infinite, here just too many, if it is inside itself."""
    if id(node) not in known:
        known[id(node)] = VALUES + 1
        if isinstance(node, yaml.ScalarNode):
            if node.tag == "tag:yaml.org,2002:int" and len(node.value) > DIGITS:
                raise UsageError(f"{file}: the number {node.value[:20]}... has {len(node.value)} characters")
            inner = []
        else:
            inner = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(_count(file, part, known) for part in inner)
    return known[id(node)]
