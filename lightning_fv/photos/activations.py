"""What the units of a network respond to the photos of a folder: one forward pass for all layers, kept on disk."""

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_fv.errors import UsageError, note, warn
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import Channel, Logit, Objective
from lightning_fv.photos.decode import decode_photo
from lightning_fv.photos.folder import Entry, PhotoFolder
from lightning_fv.runs.claims import claim
from lightning_fv.runs.digests import digest
from lightning_fv.runs.files import read_file, write_text_atomic
from lightning_fv.runs.settings import objective_settings

Numbers = npt.NDArray[np.float32]

BATCH = 100
SAVE_SECONDS = 10.0
"""Between two notes of how far a pass has come, so that a killed one is continued."""


@dataclass
class PhotoActivations:
    """The responses of units to photos; on disk, and read as needed.

    Attributes:
        network: name of the network.
        entries: the N photos, in the order of the rows.
        skipped: names of files that cannot be read as photos.
        layers: by layer name (N, C), float32: the mean over all positions of each channel, as `lightning_fv.objectives.Channel`
            has it. Not finite where the network's output is not.
        objectives: by objective key (N,), float32: the objective's value for each photo.
    """

    network: str
    entries: list[Entry]
    skipped: list[str]
    layers: dict[str, Numbers]
    objectives: dict[str, Numbers]

    def __len__(self) -> int:
        return len(self.entries)

    def of(self, objective: Objective) -> Numbers | None:
        """The values (N,) of an objective for the photos; None if it was not evaluated."""
        place = unit_of(objective)
        if place is not None and place[0] in self.layers:
            return np.ascontiguousarray(self.layers[place[0]][:, place[1]])
        return self.objectives.get(objective.key)

    def rows(self, labels: Collection[str]) -> npt.NDArray[np.int64]:
        """Rows of the photos whose label (the name of their folder) is one of these."""
        return np.array([row for row, entry in enumerate(self.entries) if entry.label in labels], dtype=np.int64)


def cache_folder() -> Path:
    """Where responses are kept: ``$LIGHTNING_FV_CACHE``, or ``lightning_fv`` in the user's cache (``$XDG_CACHE_HOME``, ``~/.cache``)."""
    if named := os.environ.get("LIGHTNING_FV_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_fv"


def photo_activations(
    network: VisionNetwork,
    folder: PhotoFolder,
    layers: Collection[str] = (),
    objectives: Sequence[Objective] = (),
    cache: Path | None = None,
    progress: bool = False,
) -> PhotoActivations:
    """The responses of a network's units to all photos of a folder, from the cache or from one pass over the photos.

    A pass runs the network once for each photo, up to the deepest layer that is needed. It reads and writes in batches, so that memory does
    not grow with the number of photos, and notes every `SAVE_SECONDS` how far it has come: after a kill, the next call goes on from
    there. Of several processes that need the same, one makes the pass and the others wait. A photo that cannot be read is named
    in a warning and left out. What is kept belongs to the network's weights and preprocessing and to the names, sizes and times of
    change of the photos; if one of them changes, a new pass is made.

    Args:
        network: on the device that it should run on.
        folder: the photos; they are scaled and cropped to the network's training size.
        layers: names of layers; all their units are recorded.
        objectives: further ones to evaluate; of channels and logits the layer is recorded instead. Those that compare with photos of their own
            cannot be evaluated and are left out.
        cache: where to keep the responses; by default `cache_folder`.
        progress: whether to say that photos are processed, and how fast.

    Raises:
        UsageError: no photo can be read, or the cache cannot be written.
        LayerNotFoundError, CaptureError: there is no such layer.
    """
    place = (cache or cache_folder()) / "photos" / digest(_identity(network).encode(), folder.digest.encode())
    places = [unit_of(objective) for objective in objectives]
    wanted = {layer: _name("layer", layer) for layer in sorted({*layers, *(unit[0] for unit in places if unit)})}
    others = {
        objective.key: objective
        for objective, unit in zip(objectives, places, strict=True)
        if unit is None and not objective.photos
    }
    values = {
        key: _name("objective", key, json.dumps(objective_settings(o), sort_keys=True, default=repr))
        for key, o in others.items()
    }
    try:
        place.mkdir(parents=True, exist_ok=True)
        with claim(place / "pass.lock", wait=True):
            store = _Store(place)
            missing = {layer for layer, name in wanted.items() if store.read(name) is None}
            unknown = {key: others[key] for key, name in values.items() if store.read(name) is None}
            if missing or unknown:
                store.make(
                    network,
                    folder,
                    {key: wanted[key] for key in sorted(missing)},
                    {values[key]: unknown[key] for key in unknown},
                    progress,
                )
        entries, skipped = store.photos(folder)
        found = {layer: store.read(name) for layer, name in wanted.items()}
        evaluated = {key: store.read(name) for key, name in values.items()}
    except OSError as error:
        raise UsageError(
            f"the responses to photos cannot be kept in {place}: {error.strerror or error}; set LIGHTNING_FV_CACHE to another folder"
        ) from error
    if skipped:
        named = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        warn(
            f"photos: {len(skipped)} of {len(skipped) + len(entries)} files in {folder.path} cannot be read as photos and are left out: {named}"
        )
    return PhotoActivations(
        network.name,
        entries,
        skipped,
        {layer: numbers for layer, numbers in found.items() if numbers is not None},
        {key: numbers[:, 0] for key, numbers in evaluated.items() if numbers is not None},
    )


def read_photos(network: VisionNetwork, entries: Sequence[Entry]) -> Tensor:
    """Photos as the pass shows them to a network, uint8 (N, C, *input_size).

    Raises:
        UsageError: one cannot be read; it names it.
    """
    return torch.stack([_pixels(network, entry) for entry in entries])


def _pixels(network: VisionNetwork, entry: Entry) -> Tensor:
    try:
        content = entry.read()
    except OSError as error:
        raise UsageError(f"photos: {entry.name} cannot be read: {error.strerror}") from None
    return decode_photo(io.BytesIO(content), network.input_size, network.channels, f"photos: {entry.name}")


def unit_of(objective: Objective) -> tuple[str, int] | None:
    """Layer and unit of a plain channel or logit, whose value is a column of its layer's."""
    if (
        isinstance(objective, Channel | Logit)
        and type(objective) in (Channel, Logit)
        and isinstance(objective.unit, int)
    ):
        return objective.layer, objective.unit
    return None


def _identity(network: VisionNetwork) -> str:
    return network.digest() + json.dumps(network.settings(), sort_keys=True)


def _name(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


class _Store:
    """Numbers by name in one folder of the cache: ``NAME.f32`` with rows of float32, ``NAME.json`` with the row's length."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def read(self, name: str) -> Numbers | None:
        """(N, C); None if it is not there or not whole."""
        try:
            shape = json.loads(read_file(self._place / f"{name}.json"))
            file = self._place / f"{name}.f32"
            whole = os.path.getsize(file) == 4 * shape["rows"] * shape["columns"]
            if not whole or shape["skipped"] != digest(read_file(self._place / "skipped.json")):
                return None  # rows of a pass that could read other photos
            return np.memmap(file, np.float32, "r", shape=(shape["rows"], shape["columns"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def photos(self, folder: PhotoFolder) -> tuple[list[Entry], list[str]]:
        """The photos that the rows are of, and the names of files that are none."""
        skipped = set(json.loads(read_file(self._place / "skipped.json")))
        entries = [entry for entry in folder.entries if entry.name not in skipped]
        return entries, sorted(skipped)

    def make(
        self,
        network: VisionNetwork,
        folder: PhotoFolder,
        layers: Mapping[str, str],
        objectives: Mapping[str, Objective],
        progress: bool,
    ) -> None:
        """Pass all photos through the network and keep its responses.

        Args:
            network: the network.
            folder: the photos.
            layers: names to keep them under, by layer.
            objectives: objectives by the names to keep their values under.
            progress: whether to say so.
        """
        names = [*layers.values(), *objectives]
        work = self._place / f"pass-{_name(*names)}"
        work.mkdir(exist_ok=True)
        done, rows, skipped = self._progress(work, names, len(folder.entries))
        start, saved = time.monotonic(), time.monotonic()
        with contextlib.ExitStack() as files, network.frozen(), torch.no_grad():
            opened = {name: files.enter_context(open(work / name, "ab")) for name in names}
            for pixels, failed, count in _batches(network, folder.entries[done:]):
                done += count
                skipped += failed
                if len(pixels):
                    rows += len(pixels)
                    for name, numbers in _responses(network, pixels, layers, objectives).items():
                        opened[name].write(numbers.tobytes())
                if time.monotonic() - saved > SAVE_SECONDS:
                    saved = time.monotonic()
                    _save(work, opened, done, rows, skipped)
                    if progress:
                        rate = done / max(saved - start, 1e-3)
                        note(
                            f"photos: {done} of {len(folder.entries)} seen by {network.name}, about {(len(folder.entries) - done) / rate:.0f} s left"
                        )
            _save(work, opened, done, rows, skipped)
        if not rows:
            raise UsageError(f"photos: none of the {len(skipped)} files in {folder.path} can be read as a photo")
        write_text_atomic(self._place / "skipped.json", json.dumps(sorted(skipped)))
        for name in names:
            length = os.path.getsize(work / name) // (4 * rows)
            os.replace(work / name, self._place / f"{name}.f32")
            shape = {"rows": rows, "columns": length, "skipped": digest(read_file(self._place / "skipped.json"))}
            write_text_atomic(self._place / f"{name}.json", json.dumps(shape))
        shutil.rmtree(work, ignore_errors=True)

    @staticmethod
    def _progress(work: Path, names: Sequence[str], count: int) -> tuple[int, int, list[str]]:
        """Photos that an interrupted pass has seen, rows that it has written, and files that are no photos; what was written after its last note is cut off."""
        try:
            saved = json.loads(read_file(work / "progress.json"))
            for name in names:
                length = saved["lengths"][name]
                if os.path.getsize(work / name) < length:
                    raise ValueError(name)
                os.truncate(work / name, length)
            return int(saved["done"]), int(saved["rows"]), list(saved["skipped"])
        except (OSError, ValueError, KeyError, TypeError):
            for name in names:
                (work / name).unlink(missing_ok=True)
            return 0, 0, []


def _save(work: Path, opened: Mapping[str, BinaryIO], done: int, rows: int, skipped: Sequence[str]) -> None:
    for file in opened.values():
        file.flush()
        os.fsync(file.fileno())
    lengths = {name: file.tell() for name, file in opened.items()}
    state = {"done": done, "rows": rows, "skipped": list(skipped), "lengths": lengths}
    write_text_atomic(work / "progress.json", json.dumps(state))


def _batches(network: VisionNetwork, entries: Sequence[Entry]) -> Iterator[tuple[Tensor, list[str], int]]:
    """Photos (B, C, H, W) as uint8, names of files that are none, and how many files these are; the next ones are decoded meanwhile."""

    def decoded(batch: Sequence[Entry]) -> tuple[Tensor, list[str], int]:
        pixels, failed = [], []
        for entry in batch:
            try:
                pixels.append(_pixels(network, entry))
            except UsageError:
                failed.append(entry.name)
        return torch.stack(pixels) if pixels else torch.empty(0), failed, len(batch)

    with ThreadPoolExecutor(1) as pool:
        parts = iter([entries[start : start + BATCH] for start in range(0, len(entries), BATCH)])
        ahead = deque(pool.submit(decoded, part) for part in itertools.islice(parts, 2))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(decoded, part) for part in itertools.islice(parts, 1))
            yield batch


def _responses(
    network: VisionNetwork, pixels: Tensor, layers: Mapping[str, str], objectives: Mapping[str, Objective]
) -> dict[str, Numbers]:
    images = pixels.to(network.device).float() / 255
    read = {*layers}.union(*(objective.layers for objective in objectives.values()))
    activations = network.activations(images, read) if read else {}
    found = {name: _means(activations[layer]) for layer, name in layers.items()}
    found |= {name: objective(activations, images).reshape(-1, 1) for name, objective in objectives.items()}
    return {name: numbers.float().cpu().numpy() for name, numbers in found.items()}


def _means(activation: Tensor) -> Tensor:
    return activation.float().flatten(2).mean(2) if activation.ndim > 2 else activation.float()
