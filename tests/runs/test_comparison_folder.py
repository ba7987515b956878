"""The folder of a comparison: columns are run folders inside of it, whatever they are called."""

from pathlib import Path

import pytest

from lightning_fv.runs.comparison_folder import ComparisonFolder


@pytest.mark.parametrize(
    ("column", "folder"),
    [
        ("demo", "demo"),
        ("demo/antialiased", "demo-antialiased"),
        ("torchvision/resnet50:IMAGENET1K_V1", "torchvision-resnet50-IMAGENET1K_V1"),
        ("my recipes/seed 1.yaml", "my-recipes-seed-1.yaml"),
        ("../../etc", "etc"),
        ("/absolute", "absolute"),
        ("crème", "cr-me"),
    ],
)
def test_a_column_is_a_run_in_a_folder_of_its_name(tmp_path: Path, column: str, folder: str) -> None:
    run = ComparisonFolder(tmp_path).column(column)
    assert run.path == tmp_path / folder
    assert not run.begun()


def test_files_of_the_comparison_are_apart_from_those_of_its_columns(tmp_path: Path) -> None:
    folder = ComparisonFolder(str(tmp_path))
    files = [folder.sheet, folder.page, folder.records]
    assert len({file.name for file in files}) == 3
    assert all(file.parent == tmp_path for file in files)
    assert not any(tmp_path.iterdir())  # naming makes nothing
