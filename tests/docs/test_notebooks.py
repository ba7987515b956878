"""The notebooks run as they are, and with few steps in the quick tests; they hold small outputs and no errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.docs.examples import ROOT, short_renders

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MAX_BYTES = 300_000

each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


@each
def test_notebook_is_small_and_holds_the_outputs_of_one_execution(notebook: Path) -> None:
    cells = code_cells(notebook)
    assert notebook.stat().st_size < MAX_BYTES
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert len(outputs) >= len(cells) // 2
    assert str(Path.home()) not in notebook.read_text()
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    assert shown.count("<img ") == shown.count(' alt="Picture of ') > 0


@each
def test_cells_run_with_few_steps(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    with short_renders():
        for cell in code_cells(notebook):
            exec("".join(cell["source"]).replace("%pip", "pass  # "), names)


@pytest.mark.slow
@pytest.mark.timeout(900)
@each
def test_notebook_executes_as_it_is(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    content = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(content, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [cell.outputs for cell in content.cells if cell.cell_type == "code"]
    assert sum(map(bool, printed)) == sum(bool(cell["outputs"]) for cell in code_cells(notebook))
