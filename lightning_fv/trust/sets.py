"""How far the pictures of a run as a set are from photos."""

import contextlib

import numpy as np
import torch
from torch import Tensor

from lightning_fv.errors import RunFolderError
from lightning_fv.metrics import KernelDistance
from lightning_fv.runs.folder import RunFolder
from lightning_fv.runs.picture import read_picture_tensor
from lightning_fv.trust.responses import NetworkResponses

PHOTOS = 1000
"""Photos that pictures are compared with, at equal distances in the folder's order."""

ENOUGH = 50
"""Pictures that are needed; see `KernelDistance`."""


def distance_from_photos(run: RunFolder, responses: NetworkResponses) -> tuple[float | None, int]:
    """The kernel distance (KID, Binkowski et al. 2018) of a run's finished pictures from photos, and the number of pictures.

    By the features of a network's last stage before the logits, standardized over the photos; channels that are the same for all photos are left out.

    Args:
        run: the run.
        responses: the network, with its responses to the photos.

    Returns:
        The distance, about 0 for photos; None with fewer than `ENOUGH` pictures or photos.
    """
    stage = responses.stages[-2:][0]
    mean, std = responses.scale[stage]
    varies = torch.isfinite(std)
    metric = KernelDistance(ENOUGH)

    def add(means: Tensor, photos: bool) -> None:
        metric.update(((means - mean) / std)[:, varies], photos)

    records = [record for record in run.records() if record.status == "done" and record.image is not None]
    shown = 0
    for record in records:
        with contextlib.suppress(RunFolderError):  # a picture that is missing or damaged, which its evidence says
            picture = read_picture_tensor(run.path / str(record.image))[None]
            add(responses.means(picture, [stage])[stage], photos=False)
            shown += 1
    count = len(responses.photos)
    rows = np.linspace(0, count - 1, min(PHOTOS, count)).astype(np.int64)
    add(responses.of_photos(rows, [stage])[stage], photos=True)
    enough = min(shown, len(rows)) >= ENOUGH
    return float(metric.compute()) if enough else None, shown
