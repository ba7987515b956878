"""Measure the colour and spectrum statistics of natural photos that the package uses as constants.

    python scripts/build_spectrum.py --data PHOTOS --tiny TINY_IMAGENET

PHOTOS is a folder of ImageNet photos or a tar file of them, their shorter side 256 px; TINY_IMAGENET is the folder of
``train_demo.py``. Prints the colour decorrelation matrix of ``lightning_fv.functional.color`` and the slope of the
magnitude spectrum that ``Fourier``'s decay follows, and writes the spectra of ``lightning_fv.functional.photo_spectrum``: of
the centre of 224 px that ImageNet networks see, and of the training photos of the demo networks at their 64 px; and the magnitudes of
``lightning_fv.parameterizations.MACO``, of the former.
"""

import argparse
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from train_demo import read_photos

from lightning_fv.functional import decorrelate, frequencies
from lightning_fv.functional.photos import SPECTRA
from lightning_fv.metrics import windowed_power
from lightning_fv.parameterizations.maco import MAGNITUDES


def photos(data: Path) -> Iterator[Tensor]:
    """Photos as float64 RGB (3, H, W) in [0, 1]."""
    if data.is_file():
        with tarfile.open(data) as tar:
            files = [io.BytesIO(f.read()) for m in tar if m.isfile() and (f := tar.extractfile(m))]
    else:
        files = [
            io.BytesIO(f.read_bytes()) for f in sorted(data.rglob("*")) if f.suffix.lower() in (".jpeg", ".jpg", ".png")
        ]
    for file in files:
        with Image.open(file) as photo:
            yield torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1).double() / 255


def spectrum_of(photos: Iterable[Tensor]) -> dict[str, Any]:
    """Mean share of energy in rings one cycle per side wide; each photo (3, side, side) counts equally."""
    total, count, side = torch.zeros(0), 0, 0
    for photo in photos:
        side = photo.shape[-1]
        power = windowed_power(photo.float()[None]).sum((0, 1)).flatten()
        ring = (frequencies(side, side).flatten().ceil().long() - 1).clamp_min(0)
        shares = torch.zeros(int(ring.max()) + 1).index_add_(0, ring, power / power.sum().clamp_min(1e-9))
        total = shares if count == 0 else total + shares
        count += 1
    return {"side": side, "photos": count, "rings": [round(float(share), 7) for share in total / count]}


def centre(photos: Iterable[Tensor], side: int = 224) -> Iterator[Tensor]:
    for photo in photos:
        top, left = (photo.shape[-2] - side) // 2, (photo.shape[-1] - side) // 2
        yield photo[:, top : top + side, left : left + side]


def magnitudes_of(photos: Iterable[Tensor]) -> Tensor:
    """Mean magnitude of the waves in photos (3, side, side), float16 (3, side / 2, side / 2), rows and columns 0, 1, ... cycles per side.

    Of the decorrelated logits, as a parameterization encodes photos, without what the jump from each border to the opposite one adds
    (Moisan 2011, "Periodic plus Smooth Image Decomposition"); the mean of both directions of a wave.
    """
    total, count, half = torch.zeros(0), 0, 0
    for photo in photos:
        logits = decorrelate(photo.float().clamp(1 / 512, 1 - 1 / 512).logit())
        side, half = photo.shape[-1], photo.shape[-1] // 2
        jumps = torch.zeros_like(logits)
        down, across = logits[:, -1] - logits[:, 0], logits[..., -1] - logits[..., 0]
        jumps[:, 0], jumps[:, -1] = jumps[:, 0] + down, jumps[:, -1] - down
        jumps[..., 0], jumps[..., -1] = jumps[..., 0] + across, jumps[..., -1] - across
        cosine = torch.cos(2 * torch.pi * torch.fft.fftfreq(side))
        laplacian = 2 * cosine[:, None] + 2 * cosine[None] - 4
        laplacian[0, 0] = torch.inf
        magnitude = (torch.fft.fft2(logits, norm="forward") - torch.fft.fft2(jumps, norm="forward") / laplacian).abs()
        mirrored = magnitude.roll(-1, 1).flip(1)  # rows -k
        magnitude = ((magnitude + mirrored) / 2)[:, :half, :half]
        total, count = magnitude if count == 0 else total + magnitude, count + 1
    return (total / count).half()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tiny", type=Path, help="without it, the spectra are not written")
    args = parser.parse_args()
    data = args.data

    count, total, outer = 0, torch.zeros(3).double(), torch.zeros(3, 3).double()
    slopes = []
    for photo in photos(data):
        pixels = photo.flatten(1)
        count, total, outer = count + pixels.shape[1], total + pixels.sum(1), outer + pixels @ pixels.T
        grey = photo.mean(0)
        window = torch.outer(torch.hann_window(grey.shape[0]), torch.hann_window(grey.shape[1])).double()
        magnitude = torch.fft.rfft2((grey - grey.mean()) * window).abs()
        fy = torch.fft.fftfreq(grey.shape[0], 1 / grey.shape[0])[:, None]
        fx = torch.fft.rfftfreq(grey.shape[1], 1 / grey.shape[1])[None]
        radius = torch.sqrt(fy**2 + fx**2)
        rings = torch.tensor([4, 8, 16, 32, 64])
        means = torch.stack([magnitude[(radius >= r / 1.25) & (radius < r * 1.25)].mean() for r in rings])
        slopes.append(np.polyfit(np.log(rings.numpy()), np.log(means.numpy() + 1e-12), 1)[0])
    mean = total / count
    covariance = outer / count - torch.outer(mean, mean)
    variances, axes = torch.linalg.eigh(covariance)
    matrix = (axes * variances.sqrt()).flip(1)
    matrix = matrix * matrix.sum(0).sign()
    print("pixels", count, "mean", [round(float(v), 4) for v in mean])
    print("standard deviations along the decorrelated axes", [round(float(v), 4) for v in variances.flip(0).sqrt()])
    print("matrix / its largest column norm:")
    for row in matrix / matrix.norm(dim=0).max():
        print("   ", [round(float(v), 4) for v in row])
    print(
        f"spectrum: magnitude ~ 1 / f^{-np.mean(slopes):.2f} (standard deviation {np.std(slopes):.2f} over {len(slopes)} photos)"
    )
    magnitudes = magnitudes_of(centre(photos(data)))
    save_file({"imagenet": magnitudes.contiguous()}, MAGNITUDES)
    print(
        "magnitudes at 1, 2, 4 ... cycles:",
        [[round(float(m[k, 0]), 4) for k in (1, 2, 4, 8, 16, 32, 64)] for m in magnitudes],
    )
    if args.tiny is not None:
        tiny = read_photos(args.tiny, "train")[0].float() / 255
        spectra = {"imagenet": spectrum_of(centre(photos(data))), "tiny_imagenet": spectrum_of(tiny)}
        for name, spectrum in spectra.items():
            share = sum(spectrum["rings"][spectrum["side"] // 4 :])
            print(f"{name}: {share:.4f} of the energy above half the Nyquist frequency, {spectrum['photos']} photos")
        SPECTRA.write_text(json.dumps(spectra) + "\n")


if __name__ == "__main__":
    main()
