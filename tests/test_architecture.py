"""Who may import whom. The package is a house of floors: imports point downwards only."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightning_fv
from tests.processes import run_python

PACKAGE = Path(lightning_fv.__file__).parent
FILES = {path.relative_to(PACKAGE): path for path in sorted(PACKAGE.rglob("*.py"))}

FLOORS = [
    {"commands"},
    {"api", "comparison", "during_training"},
    {"rendering", "trust"},
    {"engines"},
    {"callbacks"},
    {"optimization"},
    {"photos", "report"},
    {"runs"},
    {"targets"},
    {"objectives"},
    {"metrics", "networks", "parameterizations", "transforms"},
    {"errors", "functional", "version"},
]
"""From the top down; CONTRIBUTING.md shows the same. A room may import what stands below its floor, and itself."""
RANKS = {room: number for number, floor in enumerate(FLOORS) for room in floor}
FRONT_DOOR = {Path("__init__.py"), Path("__main__.py")}
OPTIONAL = {"timm", "ray", "huggingface_hub"}


def room(file: Path) -> str:
    return file.with_suffix("").parts[0]


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all modules imported anywhere in a tree; ``from a import b`` counts as a.b where that is one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the module's full name"
            base = node.module or ""
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*base.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield f"{base}.{alias.name}" if base.startswith("lightning_fv") and is_module else base


def inner_imports(file: Path) -> list[tuple[str, ...]]:
    """What a file imports of the package, split at the dots, without the package's own name."""
    names = imported_modules(ast.parse(FILES[file].read_text()))
    return [tuple(name.split(".")[1:]) for name in names if name.split(".")[0] == "lightning_fv"]


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: everything outside of functions and `if TYPE_CHECKING`."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield statement
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from at_import(statement.orelse)
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from at_import(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from at_import(handler.body)


def test_each_room_has_a_floor() -> None:
    rooms = {room(file) for file in FILES if file not in FRONT_DOOR}
    assert rooms == set(RANKS)


@pytest.mark.parametrize("file", [file for file in FILES if file not in FRONT_DOOR], ids=str)
def test_imports_point_downwards(file: Path) -> None:
    here = room(file)
    for name in inner_imports(file):
        assert name, f"{file} imports from the front door; import the file that is needed"
        there = name[0]
        assert there == here or RANKS[there] > RANKS[here], f"{file} imports {'.'.join(name)}, which is not below it"


def test_callbacks_do_not_know_each_other() -> None:
    """Any may use the background thread; the room's __init__ lists them all."""
    for file in FILES:
        if room(file) == "callbacks" and file.name != "__init__.py":
            neighbours = {name[1:2] for name in inner_imports(file) if name[0] == "callbacks"}
            assert neighbours <= {("background",)}, f"{file} imports a neighbour"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_optional_packages_are_imported_where_they_are_used(file: Path) -> None:
    tree = ast.parse(FILES[file].read_text())
    simple = [node for node in at_import(tree.body) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for node in simple for name in imported_modules(node)}
    assert not names & OPTIONAL


def test_the_search_for_imports_finds_them() -> None:
    """A rule that sees nothing would hold everywhere."""
    tree = ast.parse(
        "import os\n"
        "try:\n    import ray.tune\nexcept ImportError:\n    import timm.data\n"
        "class A:\n    from timm import models\n    def f(self):\n        import never\n"
        "if TYPE_CHECKING:\n    import unseen\n"
        "from lightning_fv import callbacks, render\n"
    )
    simple = [node for node in at_import(tree.body) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {name for node in simple for name in imported_modules(node)} == {
        "os",
        "ray.tune",
        "timm.data",
        "timm",
        "lightning_fv.callbacks",
        "lightning_fv",
    }
    assert ("errors",) in inner_imports(Path("networks/capture.py"))
    assert ("optimization", "score") in inner_imports(Path("engines/job.py"))


def test_import_of_the_package_is_light() -> None:
    heavy = {"torch", "timm", "tensorboard", "matplotlib", "kornia", "lightning", "torchvision", "PIL", "numpy"}
    code = "import sys, lightning_fv; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = run_python("-c", code)
    assert done.returncode == 0, done.error_output
    loaded = done.output.split()
    assert "lightning_fv" in loaded
    assert not heavy & set(loaded)


def test_each_module_has_a_test_of_its_name() -> None:
    tests = Path(__file__).parent
    modules = [file for file in FILES if file not in FRONT_DOOR and file.name not in ("__init__.py", "version.py")]
    missing = [file for file in modules if not (tests / file.parent / f"test_{file.name}").is_file()]
    assert not missing


def test_no_file_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {str(file): len(path.read_text().splitlines()) for file, path in FILES.items()}
    assert {file: length for file, length in lengths.items() if length > 350} == {}


FOLDER_OWNERS = {
    Path("networks/download.py"),  # the cache of weights: torch calls its folder "checkpoints" too
    Path("runs/folder.py"),
    Path("runs/job_folder.py"),
    Path("runs/comparison_folder.py"),
    Path("runs/checkpoints.py"),
}
FOLDER_NAMES = re.compile(
    r"^(config\.yaml|manifest\.jsonl|sheet\.png|progress\.webp|gallery\.html|images/?|partial/?|jobs/?|frames|checkpoints|"
    r"\.run|(done|unfinished|comparison)\.jsonl|comparison\.png|index\.html|error\.txt|step=.*|.*\.ckpt)$"
)


@pytest.mark.parametrize("file", [file for file in FILES if file not in FOLDER_OWNERS], ids=str)
def test_only_the_run_folder_spells_its_names(file: Path) -> None:
    """In paths: where a name is joined, compared with a file's, or globbed for. Messages may say them."""
    for node in ast.walk(ast.parse(FILES[file].read_text())):
        operands: list[ast.AST] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            operands = [node.left, node.right]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "glob",
            "rglob",
            "joinpath",
            "Path",
        ):
            operands = list(node.args)
        for operand in operands:
            text = operand.value if isinstance(operand, ast.Constant) else None
            assert not (isinstance(text, str) and FOLDER_NAMES.match(text)), f"{file}:{node.lineno} spells {text!r}"


def test_late_imports_of_our_own_modules_have_a_reason() -> None:
    """An import inside a function hides an arrow: it is there for start-up alone, and the function says what it saves."""
    late = []
    for file, path in FILES.items():
        text = path.read_text()
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                imports = [node for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
                if any((node.module or "").startswith("lightning_fv") for node in imports):
                    late.append(str(file))
                    source = ast.get_source_segment(text, function) or ""
                    assert re.search(r"takes? .*(seconds|\d s\b)", source), f"{file}: {function.name} imports late"
    assert len(late) <= 3, late


def test_what_a_terminal_gets_passes_through_one_place() -> None:
    """`say`, `note` and `warn` escape what would control it; the command's help and version are our own words."""
    for file, path in FILES.items():
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if file not in (Path("errors.py"), Path("commands/main.py")):
            assert not {"print", "warnings.warn", "tqdm.write"} & set(calls), (
                f"{file}: use say, note or warn of errors.py"
            )
