"""What a process is started with: streams, working folder, names, locale, variables, limits."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lightning_fv
from lightning_fv.commands.main import main
from lightning_fv.errors import RunFolderError
from tests.helpers import TinyNet
from tests.processes import QUICK, SCRIPTS, SECONDS, finish, pictures, run, start_command, statuses

FIT = [*QUICK[:2], "--targets", "logits:0", "--trainer.max_steps", "2", "--model.size", "16"]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that is refused; returns the line that says why."""

    def refused(*words: str) -> str:
        assert main([*words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("lightning-fv: error: ")
        return line

    return refused


@pytest.mark.parametrize("name", ["x" * 256, "x" * 5000, "/".join(["x" * 100] * 40)], ids=["part", "whole", "inside"])
def test_names_that_are_too_long(refusal: Callable[..., str], tmp_path: Path, name: str) -> None:
    """Also where the folder alone would be possible, and its files would not."""
    assert "x... is too long; choose a shorter one" in refusal("--out", str(tmp_path / name), *FIT)
    assert "is too long" in refusal("--resume", "--out", str(tmp_path / name))
    assert "is too long" in refusal("gallery", str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_names_that_no_file_can_have(refusal: Callable[..., str], tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text('out: "a\\0b"\n')
    assert r"no folder can be called a\x00b (embedded null byte)" in refusal("--config", str(settings), *FIT)
    assert r"\udcff is not text in this locale's encoding" in refusal("--out", str(tmp_path / "\udcff"), *FIT)
    assert r"logits:\udcff is not text" in refusal("--targets", "logits:\udcff")
    for name in ("nul\0", "lone \ud800", "byte \udcff"):
        with pytest.raises(RunFolderError, match="choose another"):
            lightning_fv.render(TinyNet(), "logits:0", mean=[0.5] * 3, std=[0.2] * 3, out=tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["settings.yaml"]


def test_a_working_folder_that_is_gone(
    refusal: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in ([*FIT, "--out", str(tmp_path / "run")], ["gallery", "x"], ["layers", "demo"]):
        assert "the working folder cannot be used (No such file or directory)" in refusal(*words)
    assert not list(tmp_path.iterdir())


# -- processes -----------------------------------------------------------------------------------------------------------


def shell(command: str, folder: Path, **variables: str | None) -> tuple[int, str]:
    """Run a line of a shell in which ``$FIT`` is a small render into the folder ``run``; exit code and output."""
    variables |= {"FIT": " ".join(map(str, [sys.executable, SCRIPTS / "fit.py", *FIT, "--out run"]))}
    variables |= {"LAYERS": f"{sys.executable} {SCRIPTS / 'layers.py'} demo"}
    return finish(start_command("bash", "-o", "pipefail", "-c", command, cwd=folder, **variables))


def rendered(folder: Path) -> bool:
    return statuses(folder / "run") == ["done"] and len(pictures(folder / "run")) == 1


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("$FIT 2>&-", 0),
        ("$FIT >&-", 0),
        ("$FIT >&- 2>&- <&-", 0),
        ("$FIT 2>/dev/full", 0),
        ("$FIT >/dev/full", 1),
        ("$FIT | true", 0),
        ("$FIT 2>&1 | head -c 1", 0),
        ("ulimit -n 20; $FIT", 0),
        ("env -u HOME $FIT", 0),
        ("HOME=/proc/none $FIT", 0),
        ("TMPDIR=/none $FIT", 0),
        ("COLUMNS=0 $FIT", 0),
        ("COLUMNS=1 $FIT", 0),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $FIT", 0),
    ],
)
def test_it_renders_all_the_same(tmp_path: Path, command: str, code: int) -> None:
    ended, told = shell(command, tmp_path)
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    assert ended == code, told
    assert rendered(tmp_path)
    if code:
        assert "lightning-fv: error: standard output cannot be written: [Errno 28] No space left on device" in told


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: what is too large is named, and is no traceback."""
    code, told = shell("ulimit -f 4; $FIT", tmp_path)
    assert code == 1
    assert "Traceback" not in told
    assert "sheet.png (File too large)" in told.partition("lightning-fv: not written: ")[2]


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
def test_a_reader_of_the_table_that_has_seen_enough(tmp_path: Path) -> None:
    assert shell("$LAYERS | head -n 1", tmp_path) == (
        0,
        "  layer                  type               output        units  runs\n",
    )


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
def test_names_are_told_in_any_locale(tmp_path: Path) -> None:
    code, told = run("--out", tmp_path / "猫", *FIT, PYTHONIOENCODING="ascii")
    assert code == 0, told
    assert f"pictures       {tmp_path}/\\u732b/images\n" in told
    names = tmp_path / "names"
    names.write_text("\n".join(["猫", *map(str, range(23))]), encoding="utf-8")
    plain: dict[str, str | None] = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, told = run("--out", tmp_path / "run", *FIT, "--targets", "logits:x", "--categories", names, **plain)
    assert code == 2
    assert told.endswith("no class 'x'; it has 24 classes, such as \\u732b, 0, 1, 2, 3, 4, 5, 6\n")
    code, told = run("--out", tmp_path / "猫", *FIT, **plain)
    assert code == 2
    assert "is not text in this locale's encoding; use other names, or a UTF-8 locale" in told


assert os.name == "posix", "these tests use a shell"
