"""Networks of timm (extra ``timm``), with the preprocessing of their configuration."""

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning_fv.errors import CheckpointError, NetworkError, nearest
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.weights import WeightsFile, fetch, load_strictly, read_weights

_HUB = "https://huggingface.co"


def load_timm(name: str, weights: str | Path | None = "default", offline: bool = False) -> VisionNetwork:
    """A timm network.

    Args:
        name: timm's name with or without the tag of its weights, such as ``resnet18.a1_in1k`` or ``vit_tiny_patch16_224``.
        weights: ``"default"`` for the published ones, None for untrained, or a path to a file of them.
        offline: use the cache, never the network.

    Raises:
        NetworkError: timm is not installed, or has no such network.
        CheckpointError: the weights cannot be had, or are not what they should be.
    """
    try:
        import timm
        from timm.data.config import resolve_model_data_config as resolve_data_config
    except ImportError as error:
        raise NetworkError(f"timm/{name} needs timm ({error}): pip install 'lightning_fv[timm]'") from None
    architecture = name.split(".")[0]
    if architecture not in timm.list_models() or ("." in name and name not in timm.list_pretrained()):
        known = timm.list_models() if architecture not in timm.list_models() else timm.list_pretrained()
        near = nearest(name, known)
        raise NetworkError(
            f"timm has no network {name!r}; {f'did you mean {near}?' if near else 'see timm.list_models()'}"
        )
    module = timm.create_model(name, pretrained=False)
    settings: Any = module.pretrained_cfg
    if weights is not None:
        path = _published(name, settings, offline) if weights == "default" else Path(weights)
        load_strictly(module, read_weights(path), str(path))
    data: Any = resolve_data_config(module)  # type: ignore[no-untyped-call]
    classes = settings.get("num_classes") or 0
    return VisionNetwork(
        module.eval().requires_grad_(False),
        mean=data["mean"],
        std=data["std"],
        input_size=(data["input_size"][1], data["input_size"][2]),
        categories=_imagenet_names() if classes == 1000 else (),
        name=f"timm/{name}",
        fixed_size=bool(settings.get("fixed_input_size")),
    )


def _published(name: str, settings: Any, offline: bool) -> Path:
    """The published file: from a plain address, or from the hub's cache and then the hub."""
    url, repository = settings.get("url"), settings.get("hf_hub_id")
    if url and not repository:
        file = url.rsplit("/", 1)[-1]
        return fetch(WeightsFile(url, file, file.rsplit("-", 1)[-1].split(".")[0]), offline)
    if not repository:
        raise CheckpointError(f"timm publishes no weights for {name!r}; use --no-weights, or give a file by --weights")
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    file = settings.get("hf_hub_filename") or "model.safetensors"
    cached = try_to_load_from_cache(repository, file)
    if isinstance(cached, str):
        return _verified(Path(cached))
    where = f"{_HUB}/{repository}/resolve/main/{file}; fetch it by hand and give it by --weights"
    if offline or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise CheckpointError(f"offline, and the weights of timm/{name} are not in the hub's cache: {where}")
    try:  # the hub's client would try for most of a minute
        socket.create_connection((str(urlparse(_HUB).hostname), 443), timeout=5).close()
    except OSError as error:
        raise CheckpointError(f"cannot reach the hub for the weights of timm/{name} ({error}): {where}") from None
    return _verified(Path(hf_hub_download(repository, file)))


def _verified(path: Path) -> Path:
    """The hub's cache names large files by their SHA-256: read only what still has it."""
    import hashlib

    blob = path.resolve()
    if len(blob.name) == 64 and hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name:
        raise CheckpointError(f"{blob} is not the file that the hub published; delete it, so that it is fetched again")
    return path


def _imagenet_names() -> tuple[str, ...]:
    """The 1000 short English class names, the same list as torchvision's."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
