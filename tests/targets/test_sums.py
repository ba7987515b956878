from pathlib import Path

import pytest

from lightning_fv import load_network, render, resolve_targets
from lightning_fv.commands.main import main
from lightning_fv.errors import TargetError
from lightning_fv.objectives import Logit, Neuron
from tests.helpers import save_picture, smooth_photos
from tests.processes import pictures


def test_a_weighted_sum_is_that_of_its_objectives() -> None:
    network = load_network("demo")
    pizza, lion = (network.categories.index(name) for name in ("pizza", "lion"))
    (found,) = resolve_targets("sum(0.5*logits:pizza - 0.3*logits:lion + layer4:12@1,2)", network)
    assert found.objective == 0.5 * Logit(pizza) - 0.3 * Logit(lion) + Neuron("layer4", 12, 1, 2, of=(4, 4))
    assert len(resolve_targets("sum(logits:pizza - logits:lion) x3+logits:0", network)) == 4
    for text in ("sum(logits:0-3 - logits:lion)", "sum(logits:pizza x2 - logits:lion)"):
        with pytest.raises(TargetError, match="stands for several pictures; a term of a sum is one unit"):
            resolve_targets(text, network)
    with pytest.raises(TargetError, match="no class 'pizzza'; did you mean pizza"):
        resolve_targets("sum(logits:pizzza - logits:lion)", network)


def test_terms_that_compare_with_a_photo(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", smooth_photos(12, 10)[0])
    text = f"sum(style:{tmp_path / 'a.png'}@layer1 + 2*style:{tmp_path / 'a.png'}@layer2)"
    (found,) = resolve_targets(text, load_network("demo"))
    assert found.objective.layers == {"layer1", "layer2"}
    with pytest.raises(TargetError, match="stands for several pictures"):
        resolve_targets(f"sum({text[4:-1]} x2)", load_network("demo"))


def test_a_run_of_it_is_continued(tmp_path: Path) -> None:
    words = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2"]
    text = "sum(logits:pizza - 0.3*logits:lion)+logits:3"
    assert main(["--targets", text, *words, "--out", str(tmp_path / "a")]) == 0
    before = pictures(tmp_path / "a")
    assert len(before) == 2
    options = {"steps": 2, "accelerator": "cpu", "progress": False}
    render("demo", ["sum(logits:pizza - 0.3*logits:lion)", "logits:3"], out=tmp_path / "b", **options)
    for done in tmp_path.glob("?/jobs/*/done.jsonl"):
        done.unlink()
    for name in "ab":
        assert main(["--resume", "--out", str(tmp_path / name)]) == 0
    assert pictures(tmp_path / "a") == before
    assert len(pictures(tmp_path / "b")) == 2
