from pathlib import Path

import pytest
import torch
import yaml

from lightning_fv import load_network, render
from lightning_fv.commands.main import main
from lightning_fv.errors import TargetError
from lightning_fv.objectives import Channel, Facets, Inversion, Logit, Minimum, stack_objectives
from lightning_fv.runs.init_args import init_args
from tests.helpers import noise, smooth_photos
from tests.processes import pictures

MAPS, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 3, 9, 7)


def test_the_least_in_each_picture() -> None:
    found = Minimum([Channel("maps", 1), Channel("maps", 4), Channel("maps", 5)])({"maps": MAPS}, IMAGES)
    torch.testing.assert_close(found, MAPS.mean((2, 3))[:, [1, 4, 5]].min(1).values)
    maps = MAPS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch.stack([x[:, 1].mean((1, 2)), x[:, 4].mean((1, 2))]).amin(0), maps)
    (gradient,) = torch.autograd.grad(
        Minimum([Channel("maps", 1), Channel("maps", 4)])({"maps": maps}, IMAGES).sum(), maps
    )
    least = MAPS.mean((2, 3))[:, [1, 4]].argmin(1)
    assert (gradient.abs().sum((2, 3))[:, [1, 4]] > 0).int().argmax(1).equal(least)


def test_what_it_reads_and_how_it_is_told_apart() -> None:
    one = Minimum([Logit(3), Inversion("layer2", smooth_photos(12, 10)[0])])
    assert one.layers == {"logits", "layer2"}
    assert len(one.photos) == 1
    text = "Minimum([Logit(3), Channel('layer4', 2)])"
    assert repr(Minimum([Logit(3), Channel("layer4", 2)])) == text
    assert eval(text).same_as(Minimum((Logit(3), Channel("layer4", 2))))
    for wrong in ([Logit(3)], Logit(3), [Logit(3), 1.0], [Logit(3), Facets(Logit(4), 2)], []):
        with pytest.raises(TargetError, match="a list of two objectives or more"):
            Minimum(wrong)  # type: ignore[arg-type]


def test_a_batch_is_one_call() -> None:
    several = [Minimum([Channel("maps", a), Channel("maps", b)]) for a, b in ((0, 1), (2, 5), (4, 3), (1, 1))]
    ((rows, stack),) = stack_objectives(several)
    assert rows == [0, 1, 2, 3]
    alone = [float(one({"maps": MAPS[[row]]}, IMAGES[[row]])) for row, one in enumerate(several)]
    torch.testing.assert_close(stack({"maps": MAPS}, IMAGES), torch.tensor(alone))


def test_both_members_of_an_ensemble_respond() -> None:
    network = load_network("ensemble:demo,demo/stylized")
    both = Minimum([Channel("demo", 11), Channel("demo/stylized", 11)])
    before, after = (render(network, both, steps=steps, progress=False).scores for steps in (1, 32))
    assert float(after) > float(before) + 5


def test_in_a_config_file_and_back(tmp_path: Path) -> None:
    target = init_args(Minimum([Logit(3), Channel("layer4", 2)]))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"targets": [target]}))
    words = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2"]
    assert main(["--config", str(tmp_path / "own.yaml"), *words, "--out", str(tmp_path / "a")]) == 0
    before = pictures(tmp_path / "a")
    for done in (tmp_path / "a").glob("jobs/*/done.jsonl"):
        done.unlink()
    assert main(["--resume", "--out", str(tmp_path / "a")]) == 0
    assert pictures(tmp_path / "a") == before != {}
