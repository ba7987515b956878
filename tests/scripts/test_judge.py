"""The second opinion on a run's pictures: what it says of folders without any."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from judge import main


@pytest.mark.parametrize("folder", [None, "nowhere", "empty"])
def test_a_folder_without_a_run_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str | None
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["judge.py", *([] if folder is None else [str(tmp_path / folder)])])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "required: run" in line if folder is None else "holds no manifest.jsonl; give the folder of a run" in line
