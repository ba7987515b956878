"""Nulls where an option needs a value."""

from pathlib import Path

import pytest

from lightning_fv.commands.main import main
from lightning_fv.commands.options import parse
from lightning_fv.errors import UsageError


def test_a_null_is_a_value_only_where_the_type_says_so(tmp_path: Path) -> None:
    config = tmp_path / "null.yaml"
    for name in ("network", "seed", "batch_size", "checkpoint_seconds", "targets", "engine"):
        config.write_text(f"{name}: null\n")
        with pytest.raises(UsageError, match=f"{name}: null is no value for it; leave it out"):
            parse(["--config", str(config)])
    for line in ("model: {redirect_steps: null}", "model: {optimizer: null}", "trainer: {num_nodes: null}"):
        config.write_text(line)
        with pytest.raises(UsageError, match="null is no value for it"):
            parse(["--config", str(config)])
    config.write_text("weights: null\nmodel: {size: null, chunk: null}\ntrainer: {logger: null, callbacks: null}\n")
    assert parse(["--config", str(config)]).config.weights is None


def test_it_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "null.yaml"
    config.write_text("network: null\n")
    assert main(["--config", str(config), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"lightning-fv: error: {config}: network: null is no value for it; leave it out to keep the default"
