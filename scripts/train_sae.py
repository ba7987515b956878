"""Train a TopK sparse autoencoder on a layer of a network, on photos (Gao et al. 2024, "Scaling and evaluating sparse autoencoders").

    python scripts/train_sae.py --data PATH --network demo --layer layer3 --out sae.safetensors
    lightning-fv --targets sae:sae.safetensors:0-15

PATH holds photos: in the folders ``train`` and ``val``, such as those of Tiny ImageNet, or in ``train*.tar`` and ``val*.tar``; what is
in ``val`` is measured on. Of any other folder, every 20th photo is. Run it again with the same options to continue after an
interruption; what that needs is in a folder beside the file. The file's format is that of
`lightning_fv.networks.sparse_autoencoder`, in half precision.
"""

import argparse
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_fv import VisionNetwork, load_network
from lightning_fv.runs.checkpoints import AtomicCheckpointIO

ENDINGS = {".jpeg", ".jpg", ".png", ".webp"}
AUXILIARY = 1 / 32
"""Weight of the loss by which dead latents learn what the others leave out (Gao et al. 2024, Appendix A.2)."""


def files(data: Path, split: str) -> Iterator[Path | IO[bytes]]:
    """The photos of ``train`` or ``val``, in a fixed order."""
    if archives := sorted(data.glob(f"{split}*.tar")):
        for archive in archives:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if Path(member.name).suffix.lower() in ENDINGS and (content := tar.extractfile(member)):
                        yield content
        return
    folder = data / split if (data / split).is_dir() else data
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    yield from found if folder != data else [f for n, f in enumerate(found) if (n % 20 == 0) == (split == "val")]


def read_photos(data: Path, split: str, size: tuple[int, int], every: int = 1) -> Tensor:
    """All photos, or every n-th, as uint8 (N, 3, *size), scaled and cropped to ``size`` (height, width)."""
    photos = []
    for file in itertools.islice(files(data, split), 0, None, every):
        with Image.open(file) as photo:
            pixels = np.array(ImageOps.fit(ImageOps.exif_transpose(photo).convert("RGB"), size[::-1]))
        photos.append(torch.from_numpy(pixels).permute(2, 0, 1))
    if not photos:
        raise SystemExit(f"{data}: no photos for {split}")
    return torch.stack(photos)


class Tokens:
    """Shuffled batches of a layer's activations (N, C), one for each place of the photos, of which half are mirrored.

    Epoch e is a function of (seed, e) alone, so a resumed run sees the same ones.
    """

    def __init__(self, network: VisionNetwork, layer: str, photos: Tensor, batch: int, seed: int) -> None:
        self.network, self.layer, self.photos, self.batch = network, layer, photos, batch
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return -(-len(self.photos) // self.batch)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        for chosen in torch.split(torch.randperm(len(self.photos), generator=generator), self.batch):
            mirrored = torch.rand(len(chosen), generator=generator) < 0.5
            photos = self.photos[chosen]
            tokens = self.of(torch.where(mirrored[:, None, None, None], photos.flip(3), photos))
            yield tokens[torch.randperm(len(tokens), generator=generator).to(tokens.device)]

    @torch.no_grad()
    def of(self, photos: Tensor) -> Tensor:
        """The activations of photos, uint8 (B, 3, H, W), as float32 (B * P, C) for P places."""
        found = self.network.activations(photos.to(self.network.device).float() / 255, [self.layer])[self.layer]
        return found.float().movedim(1, -1).reshape(-1, found.shape[1])


class TopKAutoencoder(pl.LightningModule):
    """Latents (N, L) of activations (N, C), of which the k largest, where above 0, reconstruct them.

    Args:
        width: C.
        latents: L.
        k: how many latents of a place may be active.
        rate: learning rate of Adam; None for that of Gao et al., 2e-4 * sqrt(16384 / L).
        steps: how many there are; over the last fifth the learning rate falls to 0.
        dead_after: places without being active after which a latent is dead.
    """

    idle: Tensor
    scale: Tensor

    def __init__(self, width: int, latents: int, k: int, rate: float | None, steps: int, dead_after: int) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["steps"])
        self.k, self.steps, self.dead_after = k, steps, dead_after
        self.rate = rate or 2e-4 * (2**14 / latents) ** 0.5
        rows = nn.functional.normalize(torch.randn(latents, width), dim=1)
        self.W_dec, self.W_enc = nn.Parameter(rows), nn.Parameter(rows.T.clone())
        self.b_enc, self.b_dec = nn.Parameter(torch.zeros(latents)), nn.Parameter(torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("idle", torch.zeros(latents, dtype=torch.int64))

    @torch.no_grad()
    def start_from(self, tokens: Tensor) -> None:
        """Begin with the mean of some activations (N, C), and divide by their standard deviation, over all channels."""
        self.scale.copy_((tokens - tokens.mean(0)).square().mean().sqrt().clamp(min=1e-6))
        self.b_dec.copy_(tokens.mean(0) / self.scale)

    def hidden(self, x: Tensor) -> Tensor:
        """(N, C), already divided by ``scale`` -> (N, L) before the nonlinearity."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def training_step(self, tokens: Tensor, _: int) -> Tensor:
        x = tokens / self.scale
        hidden = self.hidden(x)
        latents = largest(hidden, self.k)
        rest = x - (latents @ self.W_dec + self.b_dec)
        loss = rest.square().mean()
        with torch.no_grad():
            self.idle += len(x)
            self.idle[(latents > 0).any(0)] = 0
        dead = self.idle > self.dead_after
        if dead.any():
            count = min(int(dead.sum()), x.shape[1] // 2)
            missed = largest(hidden[:, dead], count) @ self.W_dec[dead]
            error = (missed - rest.detach()).square().mean() / rest.detach().square().mean().clamp(min=1e-12)
            loss = loss + AUXILIARY * error
        self.log("dead", dead.float().mean(), prog_bar=True)
        self.log("unexplained", rest.square().mean(), prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        gradient = self.W_dec.grad
        if gradient is not None:  # what would only change a row's length
            gradient -= (gradient * self.W_dec.detach()).sum(1, keepdim=True) * self.W_dec.detach()

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        self.W_dec.copy_(nn.functional.normalize(self.W_dec, dim=1))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.rate, eps=6.25e-10)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 5 * (1 - step / self.steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def stored(self) -> dict[str, Tensor]:
        """The tensors of the file: for activations that are not divided by ``scale``, in half precision."""
        parts = {
            "W_enc": self.W_enc, "b_enc": self.b_enc * self.scale, "W_dec": self.W_dec, "b_dec": self.b_dec * self.scale,
        }  # fmt: skip
        return {name: part.detach().cpu().half().contiguous() for name, part in parts.items()}


def largest(values: Tensor, k: int) -> Tensor:
    """(N, L) with all but the k largest of a row, where above 0, replaced by 0."""
    found, places = values.topk(k, dim=1)
    return torch.zeros_like(values).scatter(1, places, found.relu())


@torch.no_grad()
def measure(parts: dict[str, Tensor], k: int, tokens: Tokens) -> dict[str, float]:
    """The share of the variance that is explained, that of latents that are never active, and how many are at a place."""
    w_enc, b_enc, w_dec, b_dec = (part.float().to(tokens.network.device) for part in parts.values())
    total, squares, missed, count, active = torch.zeros_like(b_dec), 0.0, 0.0, 0, torch.zeros_like(b_enc)
    for photos in torch.split(tokens.photos, tokens.batch):
        x = tokens.of(photos)
        latents = largest((x - b_dec) @ w_enc + b_enc, k)
        missed += float((x - b_dec - latents @ w_dec).square().sum())
        # About b_dec, which is near the mean, so that little is lost in the subtraction at the end.
        total, squares, count = total + (x - b_dec).sum(0), squares + float((x - b_dec).square().sum()), count + len(x)
        active += (latents > 0).sum(0)
    variance = squares - float(total.square().sum()) / count
    return {
        "explained_variance": 1 - missed / variance,
        "dead": float((active == 0).float().mean()),
        "active": float(active.sum()) / count,
    }


class NextEpoch(pl.Callback):
    """Tells the batches which epoch comes next, also after a resume."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.tokens.epoch = trainer.current_epoch


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="demo")
    parser.add_argument("--layer", required=True)
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="the file, NAME.safetensors")
    parser.add_argument(
        "--batch-size", type=int, default=64, help="photos; the autoencoder's batch is all their places"
    )
    parser.add_argument("--rate", type=float, help="default: 2e-4 * sqrt(16384 / latents)")
    parser.add_argument("--dead-after", type=int, default=500_000, help="places without being active")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    if args.out.suffix != ".safetensors" or not 1 <= args.k <= args.latents:
        parser.error("--out has to end in .safetensors, and --k be at least 1 and at most --latents")

    pl.seed_everything(args.seed, verbose=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_network(args.network)
    network.module.to(device)
    tokens, held_out = (
        Tokens(network, args.layer, read_photos(args.data, split, network.input_size), args.batch_size, args.seed)
        for split in ("train", "val")
    )
    some = tokens.of(tokens.photos[torch.randperm(len(tokens.photos))[:512]])
    steps = args.epochs * len(tokens)
    module = TopKAutoencoder(some.shape[1], args.latents, args.k, args.rate, steps, args.dead_after)
    module.start_from(some)

    folder = args.out.with_name(f"{args.out.stem}.training")
    options = {"options": f"{vars(args) | {'epochs': None, 'out': None}}"}
    last = folder / "last.ckpt"
    if last.exists() and torch.load(last, weights_only=True)["options"] != options["options"]:
        raise SystemExit(f"{folder} is of a training with other options; remove it, or give another --out")
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        accelerator=device.type,
        devices=1,
        callbacks=[
            NextEpoch(tokens),
            Options(options),
            ModelCheckpoint(folder, filename="last", enable_version_counter=False),
        ],
        plugins=[AtomicCheckpointIO()],
        logger=CSVLogger(folder, name="log"),
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    trainer.fit(module, tokens, ckpt_path=str(last) if last.exists() else None)
    if trainer.interrupted:
        raise SystemExit(f"interrupted; the same command continues after the last whole epoch, from {last}")

    parts = module.stored()
    found = measure(parts, args.k, held_out)  # as it is stored
    metadata = {
        "architecture": "topk", "k": str(args.k), "layer": args.layer, "network": args.network, "normalize_activations": "none",
        "photos": str(len(tokens.photos)), "epochs": str(args.epochs), "seed": str(args.seed),
        **{name: f"{value:.4f}" for name, value in found.items()},
    }  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(parts, args.out, metadata)
    print(
        f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, {args.latents} latents of {some.shape[1]} channels of {args.layer}; on "
        f"{len(held_out.photos)} photos not trained on: {found['explained_variance']:.1%} of the variance explained, "
        f"{found['active']:.1f} latents active at a place, {found['dead']:.1%} never (dead)"
    )


class Options(pl.Callback):
    """Keeps in the checkpoint what the training was started with."""

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.options)


if __name__ == "__main__":
    main()
