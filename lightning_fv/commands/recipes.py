"""Shipped recipes and config files: what ``--config`` names, and files that build upon another by ``base``."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from lightning_fv.errors import UsageError, nearest

RECIPES = Path(__file__).parents[1] / "recipes"


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
            configs += [f"--config={config}" for config in _overlays(_find(name, Path(), "--config"), ())]
        else:
            rest.append(word)
    return configs + rest


def _find(name: str, folder: Path, source: str) -> Path:
    """The file of that name, relative to a folder, or else the recipe."""
    file = folder / name
    if file.is_file():
        return file
    if name in recipe_names():
        return RECIPES / f"{name}.yaml"
    near = nearest(name, recipe_names())
    hint = f"did you mean {near[0]}?" if near else f"recipes: {', '.join(recipe_names())}"
    raise UsageError(f"{source} {name}: no such file and no such recipe; {hint}")


def _overlays(file: Path, above: tuple[Path, ...]) -> list[str]:
    """What to give to the parser for a file, the lowest base first: paths, and the text of files that have a base.

    Args:
        above: files that build upon this one.
    """
    chain = (*above, file)
    if file.resolve() in {other.resolve() for other in above}:
        raise UsageError(f"{' -> '.join(map(str, chain))}: each is the base of the one before; remove one `base`")
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return [str(file)]  # the parser says what is wrong
    if not isinstance(node, yaml.MappingNode):
        return [str(file)]
    bases = [value for key, value in node.value if key.value == "base"]
    if not bases:
        return [str(file)]
    (base, *others) = bases
    if others or not isinstance(base, yaml.ScalarNode) or not base.value:
        raise UsageError(f"{file}: base must be the name of one recipe or config file")
    node.value = [(key, value) for key, value in node.value if key.value != "base"]
    # Written from the nodes, not from values: the parser reads 1e-3 as a number, PyYAML as text.
    own = yaml.serialize(node, Dumper=yaml.SafeDumper) if node.value else "{}"
    return [*_overlays(_find(base.value, file.parent, f"{file}: base"), chain), own]
