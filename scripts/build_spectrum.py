"""Measure the colour and spectrum statistics of natural photos that the package uses as constants.

    python scripts/build_spectrum.py --data PHOTOS

PHOTOS is a folder of photos or a tar file of them. Prints the colour decorrelation matrix of
``lightning_fv.functional.color``, the slope of the magnitude spectrum that ``Fourier``'s decay follows, and the power law
of ``lightning_fv.metrics.natural_high_frequency``.
"""

import argparse
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_fv.metrics import HighFrequencyEnergy

SIDES = (64, 96, 114, 128, 224)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data

    count, total, outer = 0, torch.zeros(3).double(), torch.zeros(3, 3).double()
    slopes = []
    shares = {side: HighFrequencyEnergy() for side in SIDES}
    for photo in photos(data):
        pixels = photo.flatten(1)
        count, total, outer = count + pixels.shape[1], total + pixels.sum(1), outer + pixels @ pixels.T
        for side, share in shares.items():
            image = Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())
            scaled = np.array(image.resize((side, side), Image.Resampling.BICUBIC))
            share.update(torch.from_numpy(scaled).permute(2, 0, 1)[None].float() / 255)
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
    energies = [float(share.compute()) for share in shares.values()]
    slope, offset = np.polyfit(np.log(np.array(SIDES) / 64), np.log(energies), 1)
    measured = ", ".join(f"{energy:.4f} at {side} px" for side, energy in zip(SIDES, energies, strict=True))
    print(f"high-frequency energy: {measured}; fitted {np.exp(offset):.4f} * (side / 64) ** {slope:.3f}")


if __name__ == "__main__":
    main()
