"""The benchmark of the pass of photos counts every round of everything it times."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from benchmark_photos import measure

from lightning_fv import load_network
from lightning_fv.photos.folder import PhotoFolder
from tests.trust.runs import write_photos


def test_every_round_of_all_three_is_timed(tmp_path: Path) -> None:
    folder = PhotoFolder(write_photos(tmp_path / "photos"))
    found = measure(load_network("demo"), folder, ["layer1", "logits"], rounds=2)
    assert {name: len(seconds) for name, seconds in found.items()} == {"pass": 2, "bare": 2, "cache": 2}
    assert min(min(seconds) for seconds in found.values()) > 0
    assert min(found["pass"]) > min(found["cache"])
