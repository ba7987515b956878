"""The study's transforms, as a function and as a recipe."""

from pathlib import Path

import numpy as np
import yaml

import lightning_fv
from lightning_fv.transforms import study_warp


def test_study_warp_is_the_recipes() -> None:
    recipe = Path(lightning_fv.__file__).parent / "recipes" / "study_transforms.yaml"
    (entry,) = yaml.safe_load(recipe.read_text())["model"]["transforms"]
    arguments = entry["init_args"]
    made = study_warp()
    assert entry["class_path"] == "lightning_fv.transforms.RandomWarp"
    assert set(arguments) == {"pad", "crop", "rotate", "scale", "padding_mode"}
    for name in ("pad", "crop", "rotate", "scale"):
        np.testing.assert_allclose(getattr(made, name), arguments[name], rtol=0, atol=5e-5)
    assert made.padding_mode == arguments["padding_mode"] == "grey"


def test_study_warp_is_in_pixels_of_224() -> None:
    assert study_warp().window((224, 224)) == (224 + 48 - 12, 224 + 48 - 12)
