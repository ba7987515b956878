"""Measure the colour and spectrum statistics of natural photos that the package uses as constants.

    python scripts/build_spectrum.py --data PHOTOS

PHOTOS is a folder of photos or a tar file of them. Prints the colour decorrelation matrix of
``lightning_fv.functional.color`` and the slope of the magnitude spectrum that ``Fourier``'s decay follows.
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


if __name__ == "__main__":
    main()
