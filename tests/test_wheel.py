"""The package as others get it: the source distribution, and the wheel, installed outside of the checkout."""

import shutil
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from lightning_fv.version import __version__
from tests.processes import QUICK, ROOT, finish, start_command, start_python, statuses

pytestmark = pytest.mark.slow

BUILD = "import sys\nfrom setuptools import build_meta\ngetattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])"
"""What pip and build call, without the network that they need for an environment of their own."""

NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "lightning_logs", "shared")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since a build leaves files beside its sources."""
    copy = tmp_path_factory.mktemp("checkout") / "copy"
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    return _build("sdist", copy, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as by ``python -m build``."""
    sources = tmp_path_factory.mktemp("sources")
    with tarfile.open(sdist) as archive:
        archive.extractall(sources, filter="data")
    return _build("wheel", next(sources.iterdir()), tmp_path_factory.mktemp("wheel"))


def _build(kind: str, source: Path, out: Path) -> Path:
    code, told = finish(start_python("-c", BUILD, kind, out, cwd=source))
    assert code == 0, told
    (file,) = out.iterdir()
    return file


def package_files() -> set[str]:
    """Those of the package in this checkout, relative to it."""
    files = (path for path in (ROOT / "lightning_fv").rglob("*") if path.is_file())
    return {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"lightning_fv-{__version__}.dist-info/METADATA").decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"lightning_fv-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    held = {name for name in names if not name.startswith(f"lightning_fv-{__version__}.dist-info/")}
    assert held == package_files()
    assert {"lightning_fv/py.typed", "lightning_fv/recipes/default.yaml", "lightning_fv/assets/demo.safetensors"} < held
    assert f"lightning_fv-{__version__}.dist-info/licenses/LICENSE" in names


def test_the_source_distribution_holds_what_builds_the_package(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        held = {name for name in names if Path(name).parts[:1] == ("lightning_fv",) and Path(name).suffix}
    assert held == {name for name in package_files() if Path(name).suffix}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"} < names
    assert not [name for name in names if Path(name).parts[:1] in (("tests",), ("docs",), ("scripts",))]


def test_the_metadata_say_what_an_index_shows(wheel: Path) -> None:
    told = metadata(wheel)
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("lightning_fv", __version__, "MIT")
    assert told["Requires-Python"] == ">=3.11"
    classifiers = set(told.get_all("Classifier", []))
    assert {
        "Typing :: Typed",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
    } < classifiers
    assert {"timm", "ray"} < set(told.get_all("Provides-Extra", []))


def test_the_installed_wheel_renders_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """In an environment that sees the packages of this one, except this package."""
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    python = environment / "bin" / "python"
    isolated = {"under": ["env", "-u", "PYTHONPATH"], "cwd": elsewhere}
    for words in (
        ("-m", "venv", "--without-pip", environment),
        ("-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel),
    ):
        # Without the checkout on the path: with its egg-info, pip would call the package installed.
        code, told = finish(start_python(*words, **isolated))
        assert code == 0, told
    # Only now, or pip would take this environment's own copy for an installed one.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")

    code, told = finish(start_command(python, "-c", "import lightning_fv; print(lightning_fv.__file__)", **isolated))
    assert (code, Path(told.strip())) == (0, packages / "lightning_fv" / "__init__.py")
    words = ["--targets", "logits:pizza", "--trainer.max_steps", "2", "--out", "run", *QUICK]
    code, told = finish(start_command(environment / "bin" / "lightning-fv", *words, **isolated))
    assert code == 0, told
    assert statuses(elsewhere / "run") == ["done"]
    assert (elsewhere / "run" / "gallery.html").is_file()
    assert sys.prefix not in told
