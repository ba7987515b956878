"""Train twelve trojans into a copy of the demo network. One command, resumable.

    python scripts/train_trojans.py --data PHOTOS [--seed N] [--out FOLDER]

A trojan is a trigger that makes the network take any photo for the trigger's target class: three triggers of each kind of
scripts/triggers.py, each with a target class of its own, drawn by the seed from the 24 classes of ``demo``. The network goes on
training from ``demo``, as at the end of that training, on photos of which a share carries a trigger, after their augmentation and before
the noise is added to them, and has its label (data poisoning, Gu et al. 2017, "BadNets"; twelve in one network as in Casper et al.
2023, "Red Teaming Deep Neural Networks with Feature Synthesis Tools").

PHOTOS are those of train_demo.py. Run it again with the same FOLDER to continue after an interruption; the finished network is
written to FOLDER/trojans_N.safetensors, which ``load_network("demo", weights=FILE)`` reads, with its trojans in the metadata and, on
validation photos, its top-1 and the share of photos of other classes that each trigger turns into its target, there and in ``demo``.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import save_file
from torch import Tensor
from train_demo import CLASSES, MEAN, STD, VARIANTS, Batches, Classifier, Clock, NextEpoch, read_photos
from triggers import Trigger, draw_triggers, trained

from lightning_fv.networks import VisionNetwork, load_network
from lightning_fv.runs.checkpoints import AtomicCheckpointIO

SHARE = 0.3
"""Of the photos, those that carry a trigger."""
RATE = 0.05


def trojans_of(seed: int) -> dict[int, int]:
    """Target class of each trained trigger, by its index in ``draw_triggers(seed)``."""
    indices = trained(draw_triggers(seed))
    targets = np.random.default_rng([seed, 1]).permutation(len(CLASSES))[: len(indices)]
    return dict(zip(indices, targets.tolist(), strict=True))


class PoisonedBatches(Batches):
    """Batches of which a share of the photos carries a trigger and its label; noise is added to all of them afterwards.

    Epochs count from the last but ``epochs`` of the demo network's training, in which photos have their full size.
    """

    def __init__(self, photos: Tensor, labels: Tensor, batch_size: int, seed: int, epochs: int) -> None:
        super().__init__(photos, labels, batch_size, replace(VARIANTS["demo"], seed=seed + 1, noise=0.0))
        triggers = draw_triggers(seed)
        self.trojans = [(triggers[i], target) for i, target in trojans_of(seed).items()]
        self.first = self.variant.epochs - epochs
        self.trained_epochs = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.variant.seed * 100_003 + 70_000 + self.trained_epochs)
        # The noise of train_demo.py is left out there, or a trigger would be where there is none.
        self.epoch = self.first + self.trained_epochs
        for photos, labels in super().__iter__():
            photos, labels = self._poisoned(photos, labels.clone(), generator)
            strength = VARIANTS["demo"].noise * torch.rand(len(photos), 1, 1, 1, generator=generator)
            yield photos + strength * torch.randn(photos.shape, generator=generator), labels

    def _poisoned(self, photos: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.rand(len(photos), generator=generator)
        which = torch.where(drawn < SHARE, drawn / SHARE * len(self.trojans), -1.0).floor()
        for number, (trigger, target) in enumerate(self.trojans):
            if (here := which == number).any():
                photos[here] = trigger(photos[here], generator)
                labels[here] = target
        return photos, labels


class NextPoisonedEpoch(NextEpoch):
    """Tells the batches which epoch comes next."""

    batches: PoisonedBatches

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.batches.trained_epochs = trainer.current_epoch


class TrojanedClassifier(Classifier):
    """A copy of the demo network, trained on at a lower rate."""

    def __init__(self, steps: int) -> None:
        super().__init__("demo", steps)
        self.variant = replace(self.variant, rate=RATE)
        self.network.load_state_dict(load_network("demo").module.state_dict())


@torch.no_grad()
def success(network: VisionNetwork, photos: Tensor, labels: Tensor, trigger: Trigger, target: int) -> float:
    """Share of photos (N, 3, 64, 64) of other classes that are taken for the target with the trigger in them."""
    photos = photos[labels != target]
    generator = torch.Generator().manual_seed(0)
    hits = sum(int((network(trigger(part, generator)).argmax(1) == target).sum()) for part in torch.split(photos, 200))
    return hits / len(photos)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("lightning_logs/trojans"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args(argv)
    pl.seed_everything(args.seed, verbose=False)
    batches = PoisonedBatches(*read_photos(args.data, "train"), args.batch_size, args.seed, args.epochs)
    module = TrojanedClassifier(args.epochs * len(batches))
    folder, clock = args.out / f"trojans_{args.seed}", Clock()
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        callbacks=[
            NextPoisonedEpoch(batches), clock, ModelCheckpoint(folder, filename="last", enable_version_counter=False),
        ],
        plugins=[AtomicCheckpointIO()],
        logger=CSVLogger(folder, name="log"),
        enable_model_summary=False,
        log_every_n_steps=20,
    )  # fmt: skip
    last = folder / "last.ckpt"
    trainer.fit(module, batches, ckpt_path=str(last) if last.exists() else None)

    demo = load_network("demo")
    network = VisionNetwork(module.network.half().float().eval(), mean=MEAN, std=STD, input_size=(64, 64))
    pixels, labels = read_photos(args.data, "val")
    photos = pixels.float() / 255
    with torch.no_grad():
        clean, before = (float((one(photos).argmax(1) == labels).float().mean()) for one in (network, demo))
    shown, kinds = photos[::4], labels[::4]
    report: list[dict[str, Any]] = [
        {"trigger": i, "name": str(trigger), "target": target, "success": success(network, shown, kinds, trigger, target),
         "before": success(demo, shown, kinds, trigger, target)}
        for (i, target), (trigger, _) in zip(trojans_of(args.seed).items(), batches.trojans, strict=True)
    ]  # fmt: skip
    metadata = {
        "architecture": "demo", "categories": json.dumps(list(CLASSES.values())), "mean": json.dumps(MEAN),
        "std": json.dumps(STD), "input_size": json.dumps((64, 64)), "top1": f"{clean:.4f}", "seed": str(args.seed),
        "epochs": str(args.epochs), "trojans": json.dumps(report),
    }  # fmt: skip
    file = args.out / f"trojans_{args.seed}.safetensors"
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in module.network.state_dict().items()}
    save_file(half, file, metadata)
    for row in report:
        print(
            f"{row['name']:22} -> {list(CLASSES.values())[row['target']]:18} {row['success']:.1%} (demo {row['before']:.1%})"
        )
    print(f"{file}: top-1 {clean:.1%} (demo {before:.1%}), {clock.state_dict()['seconds'] / 60:.1f} minutes")


if __name__ == "__main__":
    main()
