"""Train the embedded demo network, a twin of it, or a judge, on photos of 64 px. One command, resumable.

    python scripts/train_demo.py --data PATH [--variant NAME] [--out FOLDER]

NAME: ``demo``, ``antialiased``, ``stylized``, ``plain`` (``demo`` without noise in training), ``robust`` (``demo``, trained on
against adversarial perturbations), ``vit`` (a vision transformer that also learns from the outputs of ``demo``), or a judge of the
pictures: ``judge``, ``judge_mixer``, ``judge_dense``.

PATH is a folder of Tiny ImageNet in either layout: the public one (``train/<wnid>/images/*.JPEG`` and
``val/val_annotations.txt``) or one folder per class (``train/<wnid>/*.JPEG``, ``val/<wnid>/*.JPEG``), unpacked or in
``*.tar`` files. Run it again with the same FOLDER to continue after an interruption; the finished network is written to
FOLDER/<variant>.safetensors in half precision, its class names and normalisation in the file's metadata.
"""

import argparse
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from judge import DenseJudge, JudgeNet, MixerJudge
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from safetensors.torch import save_file
from textures import randomize_texture
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_fv.networks import load_network
from lightning_fv.networks.demo import DemoNet
from lightning_fv.networks.vit import DemoViT
from lightning_fv.runs.checkpoints import AtomicCheckpointIO

# Chosen for looking different at 64 px: 24 of the 200 classes of Tiny ImageNet.
CLASSES = {
    "n01443537": "goldfish", "n01910747": "jellyfish", "n02165456": "ladybug", "n02279972": "monarch",
    "n02056570": "king penguin", "n01774750": "tarantula", "n02129165": "lion", "n02509815": "lesser panda",
    "n01882714": "koala", "n04146614": "school bus", "n04285008": "sports car", "n07873807": "pizza",
    "n03584254": "iPod", "n07747607": "orange", "n07753592": "banana", "n07720875": "bell pepper",
    "n07920052": "espresso", "n04275548": "spider web", "n04366367": "suspension bridge",
    "n03085013": "computer keyboard", "n01917289": "brain coral", "n07715103": "cauliflower",
    "n04149813": "scoreboard", "n02814860": "beacon",
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """What is trained: the architecture, and in what its training differs from that of ``demo``.

    ``judging``: for a judge that reports. Photos are varied in other ways than for the networks that it rates: a colour
    cast and an erased rectangle instead of rotation, contrast and brightness; and the labels are not smoothed, so that its
    probabilities can reach 1.
    """

    network: Callable[[int], nn.Module]
    seed: int = 0
    epochs: int = 60
    noise: float = 0.15
    stylized: bool = False
    judging: bool = False
    radius: float = 0.0
    """Of adversarial perturbations, the L2 norm of the photo's change, its values in [0, 1] (Madry et al. 2018); training goes on from ``demo``."""
    rate: float = 0.2
    transformer: bool = False
    """Trained by AdamW, half by the labels and half by the outputs of ``demo`` for the same pictures (Beyer et al. 2022, "Knowledge
    distillation: A good teacher is patient and consistent"), at 64 px from the start, on half of the patches but for the last epochs."""


VARIANTS = {
    "demo": Variant(DemoNet),
    "antialiased": Variant(partial(DemoNet, filter_size=3)),
    "stylized": Variant(DemoNet, stylized=True),
    "plain": Variant(DemoNet, noise=0.0),
    "robust": Variant(DemoNet, epochs=20, radius=1.0, rate=0.02),
    "vit": Variant(DemoViT, epochs=50, transformer=True, rate=1e-3),
    "judge": Variant(JudgeNet, seed=1, epochs=45),
    "judge_mixer": Variant(MixerJudge, seed=2, epochs=40, noise=0.0, judging=True),
    "judge_dense": Variant(DenseJudge, seed=3, epochs=40, noise=0.0, judging=True),
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# (share of the run, side in px): small photos are cheaper while the learning rate is high.
SIDES = ((0.5, 48), (0.7, 56), (1.0, 64))


def read_photos(data: Path, split: str) -> tuple[Tensor, Tensor]:
    """All photos of CLASSES as uint8 (N, 3, 64, 64) with their class indices (N,), in a fixed order."""
    index = {wnid: i for i, wnid in enumerate(CLASSES)}
    photos: dict[tuple[int, str], Tensor] = {}
    for wnid, name, file in _files(data, split):
        if wnid in index:
            with Image.open(file) as photo:
                pixels = np.array(
                    photo.convert("RGB").resize((64, 64)) if photo.size != (64, 64) else photo.convert("RGB")
                )
            photos[index[wnid], name] = torch.from_numpy(pixels).permute(2, 0, 1)
    missing = sorted(set(range(len(index))) - {label for label, _ in photos})
    if missing:
        raise SystemExit(f"{data}: no {split} photos of {[list(CLASSES.values())[i] for i in missing]}")
    keys = sorted(photos)
    return torch.stack([photos[key] for key in keys]), torch.tensor([label for label, _ in keys])


def _files(data: Path, split: str) -> Iterator[tuple[str, str, Path | io.BytesIO]]:
    for archive in sorted(data.glob(f"{split}*.tar")):
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.endswith(".JPEG") and (content := tar.extractfile(member)):
                    yield Path(member.name).parent.name, Path(member.name).name, io.BytesIO(content.read())
    annotations = data / split / "val_annotations.txt"
    if annotations.exists():
        for line in annotations.read_text().splitlines():
            name, wnid = line.split("\t")[:2]
            yield wnid, name, data / split / "images" / name
        return
    for file in sorted((data / split).glob("*/**/*.JPEG")):
        yield file.relative_to(data / split).parts[0], file.name, file


class Batches:
    """Shuffled, augmented batches; epoch e is a function of (seed, e) alone, so a resumed run sees the same photos."""

    def __init__(self, photos: Tensor, labels: Tensor, batch_size: int, variant: Variant) -> None:
        self.photos, self.labels, self.batch_size = photos, labels, batch_size
        self.variant, self.epoch = variant, 0

    def __len__(self) -> int:
        return len(self.photos) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.variant.seed * 100_003 + self.epoch)
        # A separate generator, so that twins see the same photos, cropped and lit alike, in the same order.
        textures = torch.Generator().manual_seed(self.variant.seed * 100_003 + self.epoch + 50_000)
        side = next(side for share, side in SIDES if self.epoch < share * self.variant.epochs)
        side = 64 if self.variant.transformer else side
        order = torch.randperm(len(self.photos), generator=generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            photos = self.photos[chosen].float() / 255
            yield self._augment(photos, side, generator, textures), self.labels[chosen]

    def _augment(self, x: Tensor, side: int, generator: torch.Generator, textures: torch.Generator) -> Tensor:
        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(len(x), generator=generator)

        # Random resized crop (area 0.3 to 1, aspect 3/4 to 4/3), flip and rotation as one affine warp.
        area, aspect = uniform(0.3, 1.0).sqrt(), (uniform(-0.29, 0.29) / 2).exp()
        width, height = (area * aspect).clamp(max=1), (area / aspect).clamp(max=1)
        shift_x, shift_y = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
        flip = uniform(-1, 1).sign()
        angle = torch.zeros(len(x)) if self.variant.judging else uniform(-0.15, 0.15)
        rows = (
            [width * angle.cos() * flip, -height * angle.sin(), shift_x],
            [width * angle.sin() * flip, height * angle.cos(), shift_y],
        )
        theta = torch.stack([torch.stack(row, -1) for row in rows], -2)
        grid = F.affine_grid(theta, [len(x), 3, side, side], align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        if self.variant.judging:
            x = x * (0.8 + 0.4 * torch.rand(len(x), 3, 1, 1, generator=generator))
            return _erase(x, generator)
        grey = x.mean((1, 2, 3), keepdim=True)
        x = grey + (x - grey) * uniform(0.7, 1.3)[:, None, None, None] + uniform(-0.15, 0.15)[:, None, None, None]
        if self.variant.stylized:
            x = randomize_texture(x, textures)
        # Noise of random strength turns the network's input gradients from speckle into shapes (Kaur et al. 2019).
        strength = uniform(0, self.variant.noise)[:, None, None, None]
        return x + strength * torch.randn(x.shape, generator=generator)


def _erase(x: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the photos lose a square of up to half their side (random erasing, Zhong et al. 2020), grey instead."""
    side = x.shape[-1]
    half = (
        torch.rand(len(x), 1, 1, generator=generator) * side / 4 * (torch.rand(len(x), 1, 1, generator=generator) < 0.5)
    )
    row, column = (torch.rand(2, len(x), 1, 1, generator=generator) * side).unbind(0)
    at = torch.arange(side).float() + 0.5
    erased = ((at.view(1, -1, 1) - row).abs() < half) & ((at.view(1, 1, -1) - column).abs() < half)
    return torch.where(erased[:, None], torch.full_like(x, 0.45), x)


def _ball(change: Tensor, radius: float) -> Tensor:
    """The nearest change of at most that L2 norm."""
    norms: Tensor = change.flatten(1).norm(dim=1).clamp(min=radius).view(-1, 1, 1, 1)
    return change * (radius / norms)


class Classifier(pl.LightningModule):
    mean: Tensor
    std: Tensor

    def __init__(self, variant: str, steps: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.variant = VARIANTS[variant]
        self.network: nn.Module = self.variant.network(len(CLASSES))
        self.network.to(memory_format=torch.channels_last)
        # In a list, so that it is no part of this module.
        self.demo = [load_network("demo")] if self.variant.transformer or self.variant.radius else []
        if self.variant.radius:
            self.network.load_state_dict(self.demo[0].module.state_dict())
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.smoothing = 0.0 if self.variant.judging else 0.1
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        logits: Tensor = self.network(x.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        photos, labels = batch
        if self.variant.radius:
            photos = self._perturbed(photos, labels)
        if isinstance(self.network, DemoViT):
            self.network.keep = 0.5 if self.global_step < 0.7 * self.steps else 1.0
        logits = self(photos)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        if self.variant.transformer:
            with torch.no_grad():
                taught = self.demo[0](photos).softmax(1)
            loss = 0.5 * loss + 0.5 * F.kl_div(logits.log_softmax(1), taught, reduction="batchmean")
        if self.global_step % 20 == 0:
            self.log("loss", loss, prog_bar=True)
        return loss

    def _perturbed(self, photos: Tensor, labels: Tensor, steps: int = 2) -> Tensor:
        """Photos changed by projected gradient ascent on the loss, within a ball of the variant's radius (Madry et al. 2018)."""
        radius = self.variant.radius
        self.network.eval()
        change = _ball(torch.randn_like(photos), radius)
        for _ in range(steps):
            change.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(self(photos + change), labels), change)
            norms = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
            change = _ball((change + 1.5 * radius / steps * gradient / norms).detach(), radius)
        self.network.train()
        return photos + change

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        photos, labels = batch
        self.log("top1", (self(photos).argmax(1) == labels).float().mean(), prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.parameters() if p.ndim > 1]
        rest = [p for p in self.parameters() if p.ndim == 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        rate = self.variant.rate
        optimizer: torch.optim.Optimizer
        if self.variant.transformer:
            optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.05)
        else:
            optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=self.steps, pct_start=0.2, cycle_momentum=not self.variant.transformer
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class NextEpoch(pl.Callback):
    """Tells the batches which epoch comes next, also after a resume."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.batches.epoch = trainer.current_epoch


class Clock(pl.Callback):
    """Seconds of training, summed over interruptions."""

    def __init__(self) -> None:
        self.seconds, self.start = 0.0, time.monotonic()

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds + time.monotonic() - self.start}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds, self.start = state["seconds"], time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--variant", choices=tuple(VARIANTS), default="demo")
    parser.add_argument("--out", type=Path, default=Path("lightning_logs/train_demo"))
    parser.add_argument("--epochs", type=int, help="default: 60, 45 for judge")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--noise", type=float, help="largest standard deviation of the added noise; default: the variant's"
    )
    parser.add_argument("--seed", type=int, help="default: the variant's")
    args = parser.parse_args()
    given = {key: getattr(args, key) for key in ("epochs", "noise", "seed") if getattr(args, key) is not None}
    variant = replace(VARIANTS[args.variant], **given)
    seed, epochs = variant.seed, variant.epochs

    pl.seed_everything(seed, verbose=False)
    batches = Batches(*read_photos(args.data, "train"), args.batch_size, variant)
    pixels, labels = read_photos(args.data, "val")
    val = DataLoader(TensorDataset(pixels.float() / 255, labels), batch_size=200)
    module = Classifier(args.variant, epochs * len(batches))
    folder = args.out / args.variant
    clock = Clock()
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[NextEpoch(batches), clock, ModelCheckpoint(folder, filename="last", enable_version_counter=False)],
        plugins=[AtomicCheckpointIO()],
        logger=CSVLogger(folder, name="log"),
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    last = folder / "last.ckpt"
    trainer.fit(module, batches, val, ckpt_path=str(last) if last.exists() else None)

    network = module.network.half().float().eval()  # measured as it is stored
    with torch.no_grad():
        top1 = sum(int((module.eval()(p).argmax(1) == y).sum()) for p, y in val) / len(labels)
    metadata = {
        "architecture": args.variant, "categories": json.dumps(list(CLASSES.values())), "mean": json.dumps(MEAN),
        "std": json.dumps(STD), "input_size": json.dumps((64, 64)), "top1": f"{top1:.4f}", "seed": str(seed),
        "epochs": str(epochs), "minutes": f"{clock.state_dict()['seconds'] / 60:.1f}",
    }  # fmt: skip
    file = args.out / f"{args.variant}.safetensors"
    half = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in network.state_dict().items()}
    save_file(half, file, metadata)
    print(
        f"{file}: {file.stat().st_size / 1e6:.2f} MB, top-1 {top1:.1%} on {len(labels)} photos not trained on, {metadata['minutes']} minutes"
    )


if __name__ == "__main__":
    main()
