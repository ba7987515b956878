"""Networks of timm (extra ``timm``), with the preprocessing of their configuration."""

import os
from pathlib import Path
from typing import Any

from torch import nn
from torchvision.models import ResNet18_Weights

from lightning_fv.errors import CheckpointError, NetworkError, nearest, note
from lightning_fv.networks.base import VisionNetwork
from lightning_fv.networks.download import WeightsFile, check_connection, fetch, hash_in_name, is_offline
from lightning_fv.networks.weights import load_strictly, read_weights


def load_timm(name: str, weights: str | Path | None = "default", offline: bool = False) -> VisionNetwork:
    """A timm network.

    Args:
        name: timm's name with or without the tag of its weights, such as ``resnet18.a1_in1k`` or ``vit_tiny_patch16_224``.
        weights: ``"default"`` for the published ones, None for untrained, or a path to a weights file.
        offline: use the cache, never download.

    Raises:
        NetworkError: timm is not installed, or has no such network.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """
    timm = _timm(name)
    architecture = name.split(".")[0]
    if architecture not in timm.list_models() or ("." in name and name not in timm.list_pretrained()):
        known = timm.list_models() if architecture not in timm.list_models() else timm.list_pretrained()
        near = ", ".join(nearest(name, known))
        raise NetworkError(
            f"timm has no network {name!r}; {f'did you mean {near}?' if near else 'see timm.list_models()'}"
        )
    module = timm.create_model(name, pretrained=False)
    settings: Any = module.pretrained_cfg
    if weights is not None:
        path, sha256 = _published(name, settings, offline) if weights == "default" else (Path(weights), None)
        load_strictly(module, read_weights(path, sha256), str(path), f"timm/{architecture}")
    data: Any = timm.data.config.resolve_model_data_config(module)
    classes = settings.get("num_classes") or 0
    return VisionNetwork(
        module.eval().requires_grad_(False),
        mean=data["mean"],
        std=data["std"],
        input_size=(data["input_size"][1], data["input_size"][2]),
        categories=ResNet18_Weights.DEFAULT.meta["categories"] if classes == 1000 else (),
        name=f"timm/{name}",
        fixed_size=bool(settings.get("fixed_input_size")),
    )


def build_timm(name: str, num_classes: int) -> nn.Module | None:
    """An untrained timm network; None if timm has none of that name.

    Raises:
        NetworkError: timm is not installed.
    """
    timm = _timm(name)
    module: nn.Module | None = timm.create_model(name, num_classes=num_classes) if knows(name) else None
    return module


def knows(name: str) -> bool:
    """Whether timm is installed and has a network of that name, with or without the tag of its weights."""
    try:
        import timm
    except ImportError:
        return False
    return name.split(".")[0] in timm.list_models()


def _timm(name: str) -> Any:
    """The package timm, which a network of that name needs."""
    try:
        import timm
        import timm.data.config
    except ImportError as error:
        raise NetworkError(f"timm/{name} needs timm ({error}): pip install 'lightning_fv[timm]'") from None
    return timm


def _published(name: str, settings: Any, offline: bool) -> tuple[Path, str | None]:
    """The published file and its expected hash, from torch's cache or the Hugging Face hub's."""
    url, repository = settings.get("url"), settings.get("hf_hub_id")
    if url and not repository:
        published = WeightsFile(url, hash_in_name(url))
        return fetch(published, offline), published.sha256
    if not repository:
        raise CheckpointError(
            f"timm publishes no weights for {name!r}; use --no-weights, or give a file with --weights"
        )
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache

    file = settings.get("hf_hub_filename") or "model.safetensors"
    cached = try_to_load_from_cache(repository, file)
    if isinstance(cached, str):
        return _blob(Path(cached))
    address = hf_hub_url(repository, file)
    by_hand = f"download {address} manually and give it with --weights"
    if is_offline(offline):
        raise CheckpointError(
            f"the weights of timm/{name} are not in the hub's cache and cannot be downloaded when offline; {by_hand}"
        )
    note(f"downloading {address}; licence: {settings.get('license') or 'unknown'}")
    try:
        check_connection(address)  # the hub's client would retry for most of a minute
        return _blob(Path(hf_hub_download(repository, file)))
    except Exception as error:  # from the hub's client, its HTTP library, or the disk
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"cannot download the weights of timm/{name}: {reason}; {by_hand}") from None


def _blob(path: Path) -> tuple[Path, str | None]:
    """The file that an entry of the hub's cache links to, and its SHA-256, by which the hub's client names it.

    Where the file system has no links, the cache does not reveal the hash.
    """
    if not path.is_symlink():
        return path, None
    # Follow one link only: the blob may itself be a link, to a file that is named by another hash.
    blob = Path(os.path.normpath(path.parent.resolve() / path.readlink()))
    return blob, blob.name if len(blob.name) == 64 else None
