"""The responses of a network's units to the photos in a folder: one pass over the photos for all layers, cached on disk."""

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

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

Reading: TypeAlias = str | Objective
"""What is read of a network: of a layer, by its name, the means of all its channels; or an objective's value."""

FORMAT = 1
"""Increased when the same network reads other numbers from the same photos, or they are kept in another way."""

BATCH, BATCH_PIXELS = 64, 2**19
"""Photos that a network is shown at a time, and their pixels; at least one. Layers of large pictures need gigabytes otherwise."""

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
    """Where responses are kept: ``$LIGHTNING_FV_CACHE``, or ``lightning_fv`` in the user's cache (``$XDG_CACHE_HOME``, ``~/.cache``).

    Raises:
        UsageError: the user has no home folder.
    """
    if named := os.environ.get("LIGHTNING_FV_CACHE"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_fv"
    except RuntimeError:
        raise UsageError("the user has no home folder to keep responses to photos in; set LIGHTNING_FV_CACHE") from None


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
        UsageError: no photo can be read, the cache cannot be written, the network's pictures are neither of 3 colours nor grey, or an
            objective cannot be described (`lightning_fv.runs.settings.objective_settings`).
        LayerNotFoundError, CaptureError: there is no such layer.
    """
    if network.channels not in (1, 3):
        raise UsageError(
            f"photos have 3 colours or are grey, and the pictures of {network.name} have {network.channels} channels; photos cannot be shown to it"
        )
    places = [unit_of(objective) for objective in objectives]
    readings: dict[str, Reading] = {
        _name("layer", layer): layer for layer in {*layers, *(unit[0] for unit in places if unit)}
    }
    for objective, unit in zip(objectives, places, strict=True):
        if unit is None and not objective.photos:
            settings = json.dumps(objective_settings(objective), sort_keys=True)
            readings[_name("objective", objective.key, settings)] = objective
    place = (cache or cache_folder()) / "photos" / digest(_identity(network).encode(), folder.digest.encode())
    store = _Store(place)
    try:
        found, skipped = store.read(readings)
        if skipped is None or len(found) < len(readings):
            place.mkdir(parents=True, exist_ok=True)
            with claim(place / "pass.lock", wait=True):
                found, skipped = store.read(readings)  # another process may have made it meanwhile
                if skipped is None or len(found) < len(readings):
                    store.make(network, folder, {n: r for n, r in readings.items() if n not in found}, progress)
                    found, skipped = store.read(readings)
                if len(found) < len(readings):  # a photo has become readable, or unreadable: all rows anew
                    store.make(network, folder, readings, progress)
                    found, skipped = store.read(readings)
    except OSError as error:
        raise UsageError(
            f"the responses to photos cannot be kept in {place}: {error.strerror or error}; set LIGHTNING_FV_CACHE to another folder"
        ) from error
    left_out = set(skipped or ())
    entries = [entry for entry in folder.entries if entry.name not in left_out]
    if left_out:
        named = ", ".join(sorted(left_out)[:3]) + (", ..." if len(left_out) > 3 else "")
        warn(
            f"photos: {len(left_out)} of {len(folder.entries)} files in {folder.path} cannot be read as photos and are left out: {named}"
        )
    return PhotoActivations(
        network.name,
        entries,
        sorted(left_out),
        {reading: found[name] for name, reading in readings.items() if isinstance(reading, str)},
        {reading.key: found[name][:, 0] for name, reading in readings.items() if isinstance(reading, Objective)},
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
    if type(objective) is Channel or type(objective) is Logit:  # a subclass may compute something else
        return (objective.layer, objective.unit) if isinstance(objective.unit, int) else None
    return None


def _identity(network: VisionNetwork) -> str:
    return f"{FORMAT} {network.digest()} {json.dumps(network.settings(), sort_keys=True)}"


def _name(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


class _Store:
    """Numbers by name in one folder of the cache: ``NAME.f32`` with rows of float32, ``NAME.json`` with how many and how long they are.

    The rows are of all photos but those in ``skipped.json``, whose digest is in each ``NAME.json``.
    """

    def __init__(self, place: Path) -> None:
        self._place = place

    def read(self, names: Collection[str]) -> tuple[dict[str, Numbers], list[str] | None]:
        """Numbers (N, C) by name, of those that are there and whole, and the names of the files that are no photos; None if not known."""
        try:
            content = read_file(self._place / "skipped.json")
            skipped = [str(name) for name in json.loads(content)]
        except (OSError, ValueError, TypeError):
            return {}, None
        found: dict[str, Numbers] = {}
        for name in names:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # damaged, or none
                shape = json.loads(read_file(self._place / f"{name}.json"))
                file = self._place / f"{name}.f32"
                rows, columns = int(shape["rows"]), int(shape["columns"])
                if os.path.getsize(file) == 4 * rows * columns and shape["skipped"] == digest(content):
                    found[name] = np.memmap(file, np.float32, "r", shape=(rows, columns))
        return found, skipped

    def make(
        self, network: VisionNetwork, folder: PhotoFolder, readings: Mapping[str, Reading], progress: bool
    ) -> None:
        """Pass all photos through the network and keep its responses.

        Args:
            network: the network.
            folder: the photos.
            readings: what to read of it, by the names to keep it under.
            progress: whether to say how far it is.
        """
        work = self._place / f"pass-{_name(*sorted(readings))}"
        work.mkdir(exist_ok=True)
        state = _State.of(work, readings)
        begun, start, saved = state.done, time.monotonic(), time.monotonic()
        with contextlib.ExitStack() as files, network.frozen(), torch.no_grad():
            opened = {name: files.enter_context(open(work / name, "ab")) for name in readings}
            for pixels, failed in _batches(network, folder.entries[begun:]):
                state.done += len(pixels) + len(failed)
                state.rows += len(pixels)
                state.skipped += failed
                if len(pixels):
                    for name, numbers in _responses(network, pixels, readings).items():
                        state.columns[name] = numbers.shape[1]
                        opened[name].write(numbers.tobytes())
                if time.monotonic() - saved > SAVE_SECONDS:
                    saved = time.monotonic()
                    state.save(work, opened)
                    if progress:
                        left = (len(folder.entries) - state.done) * (saved - start) / (state.done - begun)
                        note(
                            f"photos: {state.done} of {len(folder.entries)} seen by {network.name}, about {left:.0f} s left"
                        )
            state.save(work, opened)
        if not state.rows:
            raise UsageError(f"photos: none of the {state.done} files in {folder.path} can be read as a photo")
        content = json.dumps(sorted(state.skipped))
        write_text_atomic(self._place / "skipped.json", content)
        for name, columns in state.columns.items():
            os.replace(work / name, self._place / f"{name}.f32")
            shape = {"rows": state.rows, "columns": columns, "skipped": digest(content.encode())}
            write_text_atomic(self._place / f"{name}.json", json.dumps(shape))
        shutil.rmtree(work, ignore_errors=True)


@dataclass
class _State:
    """How far a pass is: files done, rows written, columns by name, and files that are no photos."""

    done: int
    rows: int
    columns: dict[str, int]
    skipped: list[str]

    @classmethod
    def of(cls, work: Path, names: Collection[str]) -> "_State":
        """Where an interrupted pass goes on; what it wrote after it was saved is cut off."""
        try:
            state = cls(**json.loads(read_file(work / "progress.json")))
            for name in names:
                length = 4 * state.rows * state.columns.get(name, 0)
                if os.path.getsize(work / name) < length:
                    raise ValueError(name)
                os.truncate(work / name, length)
            return state
        except (OSError, ValueError, TypeError, AttributeError):  # none, or damaged
            for name in names:
                (work / name).unlink(missing_ok=True)
            return cls(0, 0, {}, [])

    def save(self, work: Path, opened: Mapping[str, BinaryIO]) -> None:
        for file in opened.values():
            file.flush()
            os.fsync(file.fileno())
        write_text_atomic(work / "progress.json", json.dumps(asdict(self)))


def _batches(network: VisionNetwork, entries: Sequence[Entry]) -> Iterator[tuple[Tensor, list[str]]]:
    """Photos (B, C, H, W) as uint8, and names of files that are none; on a GPU the next ones are decoded meanwhile."""
    height, width = network.input_size
    size = min(BATCH, max(1, BATCH_PIXELS // (height * width)))

    def decoded(batch: Sequence[Entry]) -> tuple[Tensor, list[str]]:
        pixels, failed = [], []
        for entry in batch:
            try:
                pixels.append(_pixels(network, entry))
            except UsageError:
                failed.append(entry.name)
        return torch.stack(pixels) if pixels else torch.empty(0), failed

    parts = iter([entries[start : start + size] for start in range(0, len(entries), size)])
    if network.device.type == "cpu":  # a second thread would slow down those that compute by more than it takes
        yield from map(decoded, parts)
        return
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(decoded, part) for part in itertools.islice(parts, 2))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(decoded, part) for part in itertools.islice(parts, 1))
            yield batch


def _responses(network: VisionNetwork, pixels: Tensor, readings: Mapping[str, Reading]) -> dict[str, Numbers]:
    images = pixels.to(network.device).float() / 255
    layers = frozenset().union(*({r} if isinstance(r, str) else r.layers for r in readings.values()))
    activations = network.activations(images, layers) if layers else {}
    found = {
        name: _means(activations[reading]) if isinstance(reading, str) else reading(activations, images)[:, None]
        for name, reading in readings.items()
    }
    return {name: numbers.float().cpu().numpy() for name, numbers in found.items()}


def _means(activation: Tensor) -> Tensor:
    return activation.float().flatten(2).mean(2) if activation.ndim > 2 else activation.float()
