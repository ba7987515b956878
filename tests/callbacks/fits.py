"""Renders by a plain Trainer, as a user of Lightning would make them."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from lightning_fv import FeatureVisualizer, VisionNetwork, resolve_targets
from lightning_fv.engines.isolation import isolated
from tests.helpers import TinyNet


def fit(steps: int, *callbacks: pl.Callback, checkpoint: str | None = None, **options: Any) -> pl.Trainer:
    """The Trainer of a render of two pictures of 16x20 px of the tiny network, afterwards.

    Args:
        steps: optimizer steps.
        callbacks: of the Trainer; there are no others.
        checkpoint: what to go on from.
        options: further ones of the Trainer.
    """
    network = VisionNetwork(TinyNet().eval(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(16, 20))
    bound = FeatureVisualizer(stage_steps=12).bind(network, resolve_targets("logits:0-1", network))
    quiet = {"accelerator": "cpu", "logger": False, "enable_model_summary": False, "enable_checkpointing": False}
    bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    with isolated():
        trainer = pl.Trainer(
            max_steps=steps, max_epochs=-1, callbacks=list(callbacks), enable_progress_bar=bar, **{**quiet, **options}
        )
        trainer.fit(bound, ckpt_path=checkpoint, weights_only=True)
    return trainer
