"""Published ResNet-50 weights trained on Stylized-ImageNet, where texture does not predict the class (Geirhos et al. 2019).

All are for torchvision's ResNet-50, with its normalisation. The figures of the authors' repository:

=================== ====================================== ========== ===== =====
name                trained on                             shape bias top-1 top-5
=================== ====================================== ========== ===== =====
``resnet50_sin``    Stylized-ImageNet (model A)            81.4 %     60.2  82.6
``resnet50_sin_in`` both (model B)                         34.7 %     74.6  92.1
``resnet50_shape``  both, then ImageNet alone (model C)    20.5 %     76.7  93.3
torchvision's       ImageNet                               21.4 %     76.1  92.9
=================== ====================================== ========== ===== =====

``resnet50_shape`` is the "Shape-ResNet" of the paper, and a trap: it has no more shape bias than the plain network
(20.5 % against 21.4 %). To see shapes instead of textures, take ``resnet50_sin``.
"""

from pathlib import Path

from lightning_fv.errors import NetworkError
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.download import WeightsFile, hash_in_name
from lightning_fv.networks.torchvision import build_torchvision, like_torchvision_resnet50


def _published(commit: str, name: str) -> WeightsFile:
    url = f"https://bitbucket.org/robert_geirhos/texture-vs-shape-pretrained-models/raw/{commit}/{name}"
    return WeightsFile(
        url,
        hash_in_name(url),
        licence="the authors give no licence for the weights: download on request, never redistribute, cite",
        citation=(
            "R. Geirhos et al., ImageNet-trained CNNs are biased towards texture; increasing shape bias improves "
            "accuracy and robustness, ICLR 2019 (arXiv:1811.12231)"
        ),
    )


# URLs as quoted by public code; whether they still work has not been checked.
STYLIZED: dict[str, WeightsFile] = {
    "resnet50_sin": _published(
        "6f41d2e86fc60566f78de64ecff35cc61eb6436f",
        "resnet50_train_60_epochs-c8e5653e.pth.tar",
    ),
    "resnet50_sin_in": _published(
        "60b770e128fffcbd8562a3ab3546c1a735432d03",
        "resnet50_train_45_epochs_combined_IN_SF-2a0d100e.pth.tar",
    ),
    "resnet50_shape": _published(
        "60b770e128fffcbd8562a3ab3546c1a735432d03",
        "resnet50_finetune_60_epochs_lr_decay_after_30_start_resnet50_train_45_epochs_combined_IN_SF-ca06340c.pth.tar",
    ),
}


def load_stylized(name: str, weights: str | Path | None = "default", offline: bool = False) -> VisionNetwork:
    """A ResNet-50 trained on Stylized-ImageNet, by its name in `STYLIZED`.

    Args:
        name: what follows ``stylized/``.
        weights: ``"default"`` for the published ones, None for untrained, or a path to a weights file.
        offline: use the cache, never download.

    Raises:
        NetworkError: no such network.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """
    if name not in STYLIZED:
        raise NetworkError(f"no network 'stylized/{name}'; known: {', '.join(STYLIZED)}")
    return like_torchvision_resnet50(
        build_torchvision("resnet50"), f"stylized/{name}", STYLIZED[name], weights, offline
    )
