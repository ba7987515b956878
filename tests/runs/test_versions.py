"""Numbered run folders."""

from pathlib import Path

import pytest

from lightning_fv.errors import RunFolderError
from lightning_fv.runs.versions import next_version


def test_versions_count_up(tmp_path: Path) -> None:
    names = [next_version(tmp_path / "logs").path.name for _ in range(2)]
    (tmp_path / "logs" / "version_7x").mkdir()
    (tmp_path / "logs" / "version_11").mkdir()
    assert [*names, next_version(tmp_path / "logs").path.name] == ["version_0", "version_1", "version_12"]


def test_names_are_not_patterns(tmp_path: Path) -> None:
    (tmp_path / "run.1_4").mkdir()
    (tmp_path / "runx1_8").mkdir()
    (tmp_path / "run.[1]_3").mkdir()
    assert next_version(tmp_path, "run.1").path.name == "run.1_5"
    assert next_version(tmp_path, "run.[1]").path.name == "run.[1]_4"


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        RunFolderError, match=r"cannot write to .*file/logs: Not a directory; choose a folder with --out"
    ):
        next_version(tmp_path / "file" / "logs")
