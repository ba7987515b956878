"""What the study's tables are made of: runs over seeds, ratings, means with standard errors."""

import math
import sys
from pathlib import Path

import pytest
import torch

from lightning_fv import load_network
from lightning_fv.functional import resize_images
from tests.helpers import noise

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from judge import REPORTING
from series import Raters, Row, Study, spread, table

QUICK = "--targets logits:lion+logits:pizza+layer1:0 --trainer.max_steps 2"


@pytest.fixture(scope="module")
def raters() -> Raters:
    return Raters()


def test_mean_and_standard_error() -> None:
    mean, error = spread([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert math.isnan(spread([1.0])[1])


def test_a_table_shows_what_a_row_has() -> None:
    rows = {"a": {"x": (0.98765, 0.0123), "y": (12.3456, 0.4)}, "b": {"x": (0.5, math.nan)}, "photos": None}
    assert table("row", rows, {"x": "p", "y": "logit"}).splitlines() == [
        "| row | p | logit |",
        "|---|---|---|",
        "| a | 0.988 ± 0.012 | 12.35 ± 0.40 |",
        "| b | 0.500 |  |",
    ]


def test_rows_that_differ_have_folders_of_their_own(tmp_path: Path) -> None:
    words = "--config study_transforms --targets 'logits:king penguin+logits:lion' --model.optimizer.init_args.lr"
    rows = [Row("", f"{words} {rate}") for rate in (0.1, 0.01)] + [Row("", f"{words} 0.1", "demo/stylized")]
    assert len({row.folder(tmp_path, seed) for row in rows for seed in (0, 1)}) == 6


def test_pictures_are_rated_by_the_networks_that_did_not_make_them(raters: Raters) -> None:
    pictures = noise(2, 3, 80, 80).sigmoid()
    rated = raters.rate(pictures, [3, 5], "demo/stylized")[1]
    names = {"demo", "demo/antialiased", "judge", *REPORTING, "twins"}
    assert {key for key in rated if key.startswith("p(") and "32 px" not in key} == {
        f"p({name}{end})" for name in names for end in ("", ", own size")
    }
    network = load_network("demo")
    with torch.no_grad():
        assert rated["p(demo, own size)"] == pytest.approx(float(network(pictures).softmax(1)[1, 5]), abs=1e-5)
        shown = resize_images(pictures, (64, 64))
        assert rated["p(demo)"] == pytest.approx(float(network(shown).softmax(1)[1, 5]), abs=1e-5)
    assert rated["p(twins)"] == pytest.approx((rated["p(demo)"] + rated["p(demo/antialiased)"]) / 2)
    assert not any("own size" in key for key in raters.rate(pictures[..., :64, :64], [3, 5], "demo")[0])


def test_a_row_is_rendered_once_and_measured_over_seeds(tmp_path: Path, raters: Raters) -> None:
    row, study = Row("quick", QUICK), Study(tmp_path, tmp_path, None, (0, 1), raters)
    numbers = study.measure(row)
    records = [raters.run(row.folder(tmp_path, seed), "demo") for seed in (0, 1)]
    assert [[record.target for record, _ in seed] for seed in records] == [["logits:lion", "logits:pizza"]] * 2
    scores = [sum(n["score"] for _, n in seed) / 2 for seed in records]
    assert numbers["score"][0] == pytest.approx(sum(scores) / 2)
    assert numbers["score"][1] == pytest.approx(abs(scores[0] - scores[1]) / 2)
    written = (row.folder(tmp_path, 0) / "manifest.jsonl").stat().st_mtime_ns
    assert study.measure(row) == numbers
    assert study.by_target(row)["logits:lion"]["score"] == pytest.approx(sum(n[0][1]["score"] for n in records) / 2)
    assert (row.folder(tmp_path, 0) / "manifest.jsonl").stat().st_mtime_ns == written


def test_natural_photos_are_a_row_only_with_photos(tmp_path: Path, raters: Raters) -> None:
    assert Study(tmp_path, tmp_path, None, (0,), raters).photo_row(["lion"]) is None
