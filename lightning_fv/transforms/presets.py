"""Presets: transforms of published work."""

from lightning_fv.transforms.warp import RandomWarp


def study_warp() -> RandomWarp:
    """The transforms of the study: crop 12 px, pad 24 px, rotate 20 degrees, scale 1.5, for a network trained at 224 px.

    The study does not say whether 1.5 is a factor or a range; uniform in [1 / 1.5, 1.5] is our reading. Nor does it
    say what it pads with; mid grey is what Lucid uses.
    """
    return RandomWarp(pad=24 / 224, crop=12 / 224, rotate=20.0, scale=(1 / 1.5, 1.5), padding_mode="grey")
