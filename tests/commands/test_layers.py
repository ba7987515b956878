"""The table of layers."""

import pytest

from lightning_fv import load_network
from lightning_fv.commands.layers import table
from lightning_fv.commands.main import main
from tests.processes import SCRIPTS, run_python


def test_the_demo_networks_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "demo", "--grep", r"^layer\d$|^fc$|logits"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "  layer   type        output        units  runs",
        "* layer1  Sequential  32x32x32 CHW     32     1",
        "* layer2  Sequential  64x16x16 CHW     64     1",
        "* layer3  Sequential  128x8x8 CHW     128     1",
        "* layer4  Sequential  256x4x4 CHW     256     1",
        "  fc      Linear      24 C             24     1",
        "* logits  DemoNet     24 C             24     1",
        "* worth looking at first",
    ]


def test_a_star_is_explained_only_where_one_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "demo", "--grep", "^fc$"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_piped_output_is_one_full_row_per_layer() -> None:
    done = run_python(SCRIPTS / "layers.py", "torchvision/googlenet", "--no-weights")
    assert done.returncode == 0, done.error_output
    network = load_network("torchvision/googlenet", None)
    lines = done.output.splitlines()
    assert len(lines) == len(network.layers()) + 2
    for info, line in zip(network.layers(), lines[1:], strict=False):
        assert f" {info.name} " in f"{line} "
    assert any("aux1.conv" in line and "not run" in line for line in lines)


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_names_are_never_cut_and_lines_fit_the_terminal(columns: int) -> None:
    network = load_network("torchvision/googlenet", None)
    text = table(network.layers(), columns)
    assert all(info.name in text for info in network.layers())
    assert max(len(line) for line in text.splitlines()) <= columns


def test_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "demo", "--grep", "nothing"]) == 2
    assert main(["layers", "demo", "--grep", "("]) == 2
    assert main(["layers", "dmo"]) == 2
    assert main(["layers"]) == 2
    err = capsys.readouterr().err
    assert "no layer of demo matches 'nothing'" in err
    assert "is not a regular expression" in err
    assert "did you mean demo" in err
