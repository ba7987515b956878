"""What units respond to photos: one pass, equal to a loop over photos, kept on disk and found again only where it belongs."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_fv.errors import LayerNotFoundError, UsageError
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import (
    L2,
    Boundary,
    Channel,
    Direction,
    Function,
    Inversion,
    Logit,
    Neuron,
    Objective,
    Probability,
    SAELatent,
)
from lightning_fv.photos import activations
from lightning_fv.photos.activations import PhotoActivations, cache_folder, photo_activations, read_photos, unit_of
from lightning_fv.photos.decode import read_photo
from lightning_fv.photos.folder import PhotoFolder
from tests.faults.disks import small_disk
from tests.helpers import TinyNet, autoencoder, noise, save_picture
from tests.processes import finish, kill, run_python, start_python, wait_for

LAYERS = ["conv1", "relu", "conv2", "logits"]


class Counting(TinyNet):
    """Counts the pictures that reach its first and its last layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._first, self._last = 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self._first += len(x)
        logits = super().forward(x)
        self._last += len(x)
        return logits

    def seen(self) -> tuple[int, int]:
        """How many since the last time."""
        found, self._first, self._last = (self._first, self._last), 0, 0
        return found


def network_of(module: nn.Module | None = None, channels: int = 3, **options: object) -> VisionNetwork:
    given = {"mean": (0.5,) * channels, "std": (0.2,) * channels, "input_size": (24, 20), "name": "tiny"} | options
    network = VisionNetwork((module or TinyNet()).eval(), **given)  # type: ignore[arg-type]
    network.layers()  # shows it a picture of its own
    return network


def counted(seed: int = 0) -> tuple[VisionNetwork, Counting]:
    module = Counting(seed)
    network = network_of(module)
    module.seen()
    return network, module


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(activations, "BATCH", 4)
    monkeypatch.setenv("LIGHTNING_FV_CACHE", str(tmp_path / "cache"))


def save_photos(folder: Path, count: int = 10) -> Path:
    for number, picture in enumerate(noise(count, 3, 30, 26, seed=7).sigmoid()):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        save_picture(folder / "ab"[number % 2] / f"{number:03}.png", picture)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return save_photos(tmp_path / "photos")


def one_by_one(network: VisionNetwork, photos: Path) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    for entry in PhotoFolder(photos).entries:
        picture = read_photo(photos / entry.name, network.input_size, network.channels)[None] / 255
        with network.frozen(), torch.no_grad():
            yield picture, network.capture(picture, LAYERS)


def bytes_of(cache: Path) -> dict[str, bytes]:
    return {str(file.relative_to(cache)): file.read_bytes() for file in sorted(cache.rglob("*")) if file.is_file()}


def test_values_are_those_of_each_photo_alone(photos: Path) -> None:
    network, module = counted()
    found = photo_activations(network, PhotoFolder(photos), LAYERS)
    assert module.seen() == (10, 10)  # all layers by one forward pass for each
    assert {layer: values.shape for layer, values in found.layers.items()} == {
        "conv1": (10, 8), "relu": (10, 8), "conv2": (10, 5), "logits": (10, 5),
    }  # fmt: skip
    for row, (_, read) in enumerate(one_by_one(network, photos)):
        for layer in LAYERS:
            expected = read[layer][0].flatten(1).mean(1) if read[layer].ndim > 2 else read[layer][0]
            np.testing.assert_allclose(found.layers[layer][row], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.of(Channel("conv1", 3)), found.layers["conv1"][:, 3])
    np.testing.assert_array_equal(found.of(Logit(2)), found.layers["logits"][:, 2])
    assert found.of(Channel("bn", 3)) is None
    assert [entry.name for entry in found.entries] == [f"a/{n:03}.png" for n in range(0, 10, 2)] + [
        f"b/{n:03}.png" for n in range(1, 10, 2)
    ]
    assert found.rows({"b"}).tolist() == [5, 6, 7, 8, 9]
    assert (len(found), found.rows({"c"}).tolist(), found.network, found.skipped) == (10, [], "tiny", [])


def test_photos_are_read_back_as_they_were_shown(photos: Path) -> None:
    network = network_of()
    found = photo_activations(network, PhotoFolder(photos), ["conv1"])
    pixels = read_photos(network, [found.entries[row] for row in (7, 2)])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (2, 3, 24, 20))
    with network.frozen(), torch.no_grad():
        again = network.activations(pixels / 255, ["conv1"])["conv1"].mean((2, 3))
    np.testing.assert_allclose(found.layers["conv1"][[7, 2]], again, rtol=1e-4, atol=1e-5)
    (photos / found.entries[2].name).unlink()
    with pytest.raises(UsageError, match=r"photos: a/004.png cannot be read: No such file"):
        read_photos(network, found.entries)


def test_a_pass_ends_at_the_deepest_layer_and_is_made_once(photos: Path) -> None:
    network, module = counted()
    first = photo_activations(network, PhotoFolder(photos), ["conv1"])
    assert module.seen() == (10, 0)
    before = bytes_of(cache_folder())
    second = photo_activations(counted()[0], PhotoFolder(photos), ["conv1"], [Channel("conv1", 2)])
    assert module.seen() == (0, 0)
    assert bytes_of(cache_folder()) == before
    np.testing.assert_array_equal(first.layers["conv1"], second.layers["conv1"])
    third = photo_activations(network, PhotoFolder(photos), ["conv1"], [Logit(1)])  # adds a layer
    assert module.seen() == (10, 10)
    assert bytes_of(cache_folder()).items() >= before.items()
    assert set(third.layers) == {"conv1", "logits"}


def test_the_network_is_left_as_it_was(photos: Path) -> None:
    network = network_of()
    network.module.train()
    before = network.digest()
    photo_activations(network, PhotoFolder(photos), ["conv1"])
    assert network.module.training
    assert network.digest() == before
    assert all(parameter.requires_grad for parameter in network.module.parameters())


def _one_weight(network: VisionNetwork) -> VisionNetwork:
    with torch.no_grad():
        network.module.conv2.weight[0, 0, 0, 0] += 1e-3  # type: ignore[union-attr, index, operator]
    return network


@pytest.mark.parametrize(
    "change",
    [
        _one_weight,
        lambda network: network_of(network.module, mean=(0.5, 0.5, 0.4)),
        lambda network: network_of(network.module, std=(0.2, 0.2, 0.3)),
        lambda network: network_of(network.module, input_size=(20, 24)),
    ],
    ids=["weight", "mean", "std", "size"],
)
def test_another_network_is_not_mistaken(photos: Path, change: Callable[[VisionNetwork], VisionNetwork]) -> None:
    network, module = counted()
    first = photo_activations(network, PhotoFolder(photos), ["logits"])
    changed = change(network)
    module.seen()
    second = photo_activations(changed, PhotoFolder(photos), ["logits"])
    assert module.seen() == (10, 10)
    assert not np.array_equal(first.layers["logits"], second.layers["logits"])


def test_a_changed_photo_is_noticed(photos: Path) -> None:
    network, module = counted()
    first = photo_activations(network, PhotoFolder(photos), ["conv1"]).layers["conv1"]
    save_picture(photos / "a" / "000.png", torch.zeros(3, 30, 26))
    second = photo_activations(network, PhotoFolder(photos), ["conv1"]).layers["conv1"]
    assert module.seen() == (20, 0)
    assert not np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1:], second[1:])
    save_picture(photos / "a" / "0000.png", torch.zeros(3, 30, 26))
    third = photo_activations(network, PhotoFolder(photos), ["conv1"]).layers["conv1"]
    np.testing.assert_allclose(third[1], second[0], atol=1e-6)  # their place in the batch is another
    assert len(third) == 11


def break_photos(photos: Path) -> list[str]:
    (photos / "a" / "empty.png").touch()
    (photos / "a" / "text.jpg").write_text("no photo")
    save_picture(photos / "b" / "cut.jpg", noise(3, 30, 26).sigmoid())
    os.truncate(photos / "b" / "cut.jpg", 900)
    os.mkfifo(photos / "b" / "pipe.jpg")
    (photos / "device.png").symlink_to("/dev/zero")
    (photos / "lost.png").symlink_to("nowhere")
    return ["a/empty.png", "a/text.jpg", "b/cut.jpg", "b/pipe.jpg", "device.png", "lost.png"]


def test_what_is_no_photo_is_named_in_one_warning_and_left_out(photos: Path) -> None:
    network, module = counted()
    whole = photo_activations(network, PhotoFolder(photos), LAYERS)
    broken = break_photos(photos)
    module.seen()
    for passes in (10, 0):  # from the cache too
        with pytest.warns(UserWarning, match="left out") as warned:
            found = photo_activations(network, PhotoFolder(photos), LAYERS)
        assert [str(w.message) for w in warned] == [
            f"photos: 6 of 16 files in {photos} cannot be read as photos and are left out: {', '.join(broken[:3])}, ..."
        ]
        assert module.seen() == (passes, passes)
        assert found.skipped == broken
        assert [entry.name for entry in found.entries] == [entry.name for entry in whole.entries]
        for layer in LAYERS:
            np.testing.assert_allclose(found.layers[layer], whole.layers[layer], rtol=1e-4, atol=1e-5)


def test_a_photo_that_can_be_read_later_makes_all_rows_anew(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network disk: nothing about the file has changed, but rows of one layer are of other photos than those of the next."""
    read, network = activations.Entry.read, network_of()

    def failing(entry: activations.Entry) -> bytes:
        if entry.name == "a/004.png":
            raise OSError(5, "Input/output error")
        return read(entry)

    monkeypatch.setattr(activations.Entry, "read", failing)
    with pytest.warns(UserWarning, match=r"1 of 10 files .*a/004.png"):
        photo_activations(network, PhotoFolder(photos), ["conv1"])
    monkeypatch.setattr(activations.Entry, "read", read)
    found = photo_activations(network, PhotoFolder(photos), ["conv1", "conv2"])
    assert {layer: len(values) for layer, values in found.layers.items()} == {"conv1": 10, "conv2": 10}
    assert len(found) == 10


def test_a_folder_without_a_photo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "text.jpg").write_text("no photo")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"none of the 1 files .* can be read as a photo"):
            photo_activations(network_of(), PhotoFolder(tmp_path / "photos"), ["conv1"])


def test_photos_of_an_archive_have_the_values_of_files(photos: Path, tmp_path: Path) -> None:
    network = network_of()
    expected = photo_activations(network, PhotoFolder(photos), LAYERS)
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(photos, ".")
    found = photo_activations(network, PhotoFolder(tmp_path / "photos.tar"), LAYERS)
    assert [entry.name for entry in found.entries] == [f"photos.tar/{entry.name}" for entry in expected.entries]
    for layer in LAYERS:
        np.testing.assert_array_equal(found.layers[layer], expected.layers[layer])


def test_names_that_are_not_utf8_are_kept(photos: Path) -> None:
    broken = os.fsdecode(b"caf\xe9.png")
    try:
        (photos / "a" / broken).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 11 files"):
            found = photo_activations(network_of(), PhotoFolder(photos), ["conv1"])
        assert (len(found), found.skipped) == (10, [f"a/{broken}"])


class Unstable(nn.Module):
    """A channel that is not a number for dark pictures, beside one that is the mean; then an infinite one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return self.body(torch.stack([(mean - 0.4).sqrt(), mean, 1 / (mean < 0.4).logical_not()], 1))


def test_numbers_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(6):
        save_picture(tmp_path / "photos" / f"{number}.png", torch.full((3, 30, 26), number / 6))
    network = network_of(Unstable(), mean=(0.0,) * 3, std=(1.0,) * 3)
    found = photo_activations(network, PhotoFolder(tmp_path / "photos"), ["body"]).layers["body"]
    dark = np.arange(6) < 3
    assert np.isnan(found[:, 0]).tolist() == dark.tolist()
    assert np.isfinite(found[:, 1]).all()
    assert np.isinf(found[:, 2]).tolist() == dark.tolist()


def test_a_grey_network_sees_grey_photos(photos: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = network_of(module, channels=1)
    found = photo_activations(network, PhotoFolder(photos), ["0"]).layers["0"]
    for row, entry in enumerate(PhotoFolder(photos).entries):
        grey = read_photo(photos / entry.name, (24, 20), 1)[None] / 255
        with network.frozen(), torch.no_grad():
            np.testing.assert_allclose(found[row], module[0](network.preprocess(grey)).mean((0, 2, 3)), atol=1e-5)


def test_other_channels_are_refused(photos: Path) -> None:
    network = network_of(nn.Sequential(nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels=4)
    with pytest.raises(UsageError, match="the pictures of tiny have 4 channels; photos cannot be shown to it"):
        photo_activations(network, PhotoFolder(photos), ["0"])


def test_unknown_layers_are_refused(photos: Path) -> None:
    with pytest.raises(LayerNotFoundError, match="no layer 'conv3'"):
        photo_activations(network_of(), PhotoFolder(photos), ["conv3"])


def test_large_pictures_are_shown_in_smaller_batches(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "BATCH_PIXELS", 2 * 24 * 20 + 1)
    sizes, module = [], TinyNet()
    network = network_of(module)
    module.conv1.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    photo_activations(network, PhotoFolder(photos), ["conv1"])
    assert sizes[-5:] == [2] * 5


def sae_file(folder: Path) -> Path:
    save_file(autoencoder(8, 16), folder / "sae.safetensors", {"architecture": "topk", "k": "3", "layer": "conv1"})
    return folder / "sae.safetensors"


def test_other_objectives_are_evaluated_and_kept_by_their_settings(photos: Path, tmp_path: Path) -> None:
    network, module = counted()
    objectives: list[Objective] = [
        Neuron("conv1", 3, 2, 4),
        Channel("conv1", 1) + Channel("conv2", 2) * 0.5,
        Direction("conv1", noise(8)),
        SAELatent(sae_file(tmp_path), 5),
        Probability(2),
        L2(),
        Boundary(),
        Function(lambda activations, images: activations["conv2"].amax((1, 2, 3)), ["conv2"], name="peak"),
    ]
    found = photo_activations(network, PhotoFolder(photos), [], objectives)
    assert module.seen() == (10, 10)
    assert found.layers == {}
    loop = list(one_by_one(network, photos))
    for objective in objectives:
        values = found.of(objective)
        assert values is not None
        with torch.no_grad():
            expected = [float(objective(read, picture)) for picture, read in loop]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
    module.seen()
    photo_activations(network, PhotoFolder(photos), [], objectives[::-1])
    assert module.seen() == (0, 0)
    peak = Function(lambda activations, images: activations["conv2"].amin((1, 2, 3)), ["conv2"], name="peak")
    other = photo_activations(network, PhotoFolder(photos), [], [peak, objectives[0]])
    assert module.seen() == (10, 0)  # of one name, and another function
    assert not np.array_equal(other.objectives[peak.key], found.objectives[peak.key])
    np.testing.assert_array_equal(other.of(objectives[0]), found.of(objectives[0]))


def test_objectives_that_compare_with_a_photo_are_left_out(photos: Path) -> None:
    network, module = counted()
    objective = Inversion("conv1", str(photos / "a" / "000.png"))
    found = photo_activations(network, PhotoFolder(photos), ["conv1"], [objective, Logit(1) - objective])
    assert (found.of(objective), found.objectives, set(found.layers)) == (None, {}, {"conv1"})
    module.seen()
    nothing = photo_activations(network, PhotoFolder(save_photos(photos.parent / "other", 3)), [], [objective])
    assert (len(nothing), nothing.layers, nothing.objectives, module.seen()) == (3, {}, {}, (0, 0))


def test_units_are_plain_channels_and_logits() -> None:
    class Squared(Channel):
        pass

    assert unit_of(Channel("conv1", 3)) == ("conv1", 3)
    assert unit_of(Logit(2)) == ("logits", 2)
    for other in (Squared("conv1", 3), Channel("conv1", [1, 2]), Neuron("conv1", 1, 2, 3), Channel("conv1", 3) * 1.0):
        assert unit_of(other) is None


def file_of(suffix: str, cache: Path) -> Path:
    (file,) = (f for f in cache.rglob(f"*{suffix}") if f.name != "skipped.json" or suffix == "skipped.json")
    return file


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"rows": 10}', b'{"rows": "x", "columns": 8}', None])
@pytest.mark.parametrize("suffix", [".f32", ".json", "skipped.json"])
def test_damaged_files_are_made_again(photos: Path, suffix: str, content: bytes | None) -> None:
    network, module = counted()
    photo_activations(network, PhotoFolder(photos), ["conv1"])
    good = bytes_of(cache_folder())
    file = file_of(suffix, cache_folder())
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if content is None else content)
    module.seen()
    photo_activations(network, PhotoFolder(photos), ["conv1"])
    same = file.read_bytes() == whole and suffix == "skipped.json" and content == b"[]"
    assert module.seen() == ((0, 0) if same else (10, 0))  # no file is skipped here: [] is right
    assert bytes_of(cache_folder()) == good


def test_a_cache_that_is_whole_need_not_be_writable(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that a group shares; rights do not stop root, who may run the tests."""
    expected = photo_activations(network_of(), PhotoFolder(photos), ["conv1"])

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("it is written to")

    for name in ("claim", "write_text_atomic"):
        monkeypatch.setattr(activations, name, refuse)
    found = photo_activations(network_of(), PhotoFolder(photos), ["conv1"])
    np.testing.assert_array_equal(found.layers["conv1"], expected.layers["conv1"])


def test_a_cache_that_cannot_be_written_is_named(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("LIGHTNING_FV_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        UsageError, match=r"kept in .*/file/photos/\w+: Not a directory; set LIGHTNING_FV_CACHE to another"
    ):
        photo_activations(network_of(), PhotoFolder(photos), ["conv1"])


def test_a_full_disk_is_one_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", 1) as disk:
        ballast = disk.fill()
        with pytest.raises(UsageError, match=r"No space left on device; set LIGHTNING_FV_CACHE to another folder"):
            photo_activations(network_of(), PhotoFolder(photos), ["conv1"], cache=disk.seen / "cache")
        ballast.unlink()
        found = photo_activations(network_of(), PhotoFolder(photos), ["conv1"], cache=disk.seen / "cache")
        wide = VisionNetwork(
            nn.Sequential(nn.Conv2d(3, 2**16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(2, 2),
        )  # fmt: skip
        with pytest.raises(UsageError, match="No space left on device; set LIGHTNING_FV_CACHE"):  # 2.6 MB
            photo_activations(wide, PhotoFolder(photos), ["logits"], cache=disk.seen / "cache")
        assert len(found) == 10


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_FV_CACHE", "/one/two")
    assert cache_folder() == Path("/one/two")
    monkeypatch.delenv("LIGHTNING_FV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/three")
    assert cache_folder() == Path("/three/lightning_fv")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/lightning_fv")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UsageError, match=r"no home folder .*; set LIGHTNING_FV_CACHE"):
        cache_folder()


SLOWLY = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from lightning_fv.photos import activations
from lightning_fv.photos.folder import PhotoFolder
from lightning_fv.runs.digests import digest
from tests.photos.test_activations import LAYERS, counted

activations.BATCH, activations.SAVE_SECONDS = 4, 0
responses = activations._responses

def slowly(*args):
    time.sleep(float(sys.argv[3]))
    return responses(*args)

activations._responses = slowly
network, module = counted()
found = activations.photo_activations(network, PhotoFolder(sys.argv[1]), LAYERS, cache=Path(sys.argv[2]), progress=True)
print("seen", module.seen()[0], digest(*(found.layers[layer].tobytes() for layer in LAYERS)))
"""


def test_a_killed_pass_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos", 42)
    break_photos(photos)
    with pytest.warns(UserWarning, match="6 of 48"):
        photo_activations(counted()[0], PhotoFolder(photos), LAYERS, cache=tmp_path / "whole")
    process = start_python("-c", SLOWLY, photos, tmp_path / "killed", 0.3)

    def done() -> int:
        files = list((tmp_path / "killed").rglob("progress.json"))
        return int(json.loads(files[0].read_text())["done"]) if files else 0

    wait_for(lambda: done() >= 16, process)
    kill(process)
    (state,) = (tmp_path / "killed").rglob("progress.json")
    before, rows = done(), json.loads(state.read_text())["rows"]
    assert 16 <= before < 48
    assert "of 48 seen by tiny, about" in process.output
    for file in state.parent.iterdir():
        if file != state:  # written after the state was saved
            with open(file, "ab") as opened:
                opened.write(b"\1" * 37)
    network, module = counted()
    with pytest.warns(UserWarning, match="6 of 48"):
        photo_activations(network, PhotoFolder(photos), LAYERS, cache=tmp_path / "killed")
    assert module.seen()[0] == 42 - rows
    whole, killed = bytes_of(tmp_path / "whole"), bytes_of(tmp_path / "killed")
    assert killed == whole
    assert len(whole) == 2 * len(LAYERS) + 2  # numbers and their lengths; what is skipped; the lock


@pytest.mark.parametrize("damage", [b"", b"garbage", b"[]", b'{"done": 4}', None])
def test_a_damaged_state_begins_anew(photos: Path, tmp_path: Path, damage: bytes | None) -> None:
    network, module = counted()
    photo_activations(network, PhotoFolder(photos), ["conv1"], cache=tmp_path / "whole")
    responses, calls = activations._responses, []

    def stopped(*args: Any) -> dict[str, activations.Numbers]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return responses(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations, "SAVE_SECONDS", 0)
        patch.setattr(activations, "_responses", stopped)
        with pytest.raises(KeyboardInterrupt):
            photo_activations(network, PhotoFolder(photos), ["conv1"], cache=tmp_path / "stopped")
    (state,) = (tmp_path / "stopped").rglob("progress.json")
    assert json.loads(state.read_text())["done"] == 8
    if damage is None:  # the numbers are shorter than the state says
        os.truncate(next(file for file in state.parent.iterdir() if file != state), 40)
    else:
        state.write_bytes(damage)
    module.seen()
    photo_activations(network, PhotoFolder(photos), ["conv1"], cache=tmp_path / "stopped")
    assert module.seen()[0] == 10
    assert bytes_of(tmp_path / "stopped") == bytes_of(tmp_path / "whole")


@pytest.mark.slow
def test_of_two_processes_one_makes_the_pass(photos: Path, tmp_path: Path) -> None:
    both = [start_python("-c", SLOWLY, photos, tmp_path / "shared", 0.5, separate=True) for _ in range(2)]
    results = [finish(process) for process in both]
    assert [code for code, _ in results] == [0, 0], results
    lines = sorted(process.output.split() for process in both)
    assert sorted(int(line[1]) for line in lines) == [0, 10]
    assert lines[0][2] == lines[1][2]


MEMORY = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
torch.set_num_threads(1)
from lightning_fv.networks import VisionNetwork
from lightning_fv.photos import activations
from lightning_fv.photos.folder import PhotoFolder

activations.BATCH = 20
module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 2**15, 1), nn.Flatten()).eval()
network = VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(24, 20))
for folder in sys.argv[2:]:
    found = activations.photo_activations(network, PhotoFolder(folder), ["1"], cache=Path(sys.argv[1]))
    print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_number_of_photos(tmp_path: Path) -> None:
    """128 kB for each photo: 13 MB for the second folder, 51 MB for the third; the first one fills torch's own caches."""
    save_picture(tmp_path / "photo.png", noise(3, 30, 26).sigmoid())
    content = (tmp_path / "photo.png").read_bytes()
    for count in (60, 100, 400):
        with tarfile.open(tmp_path / f"{count}.tar", "w") as tar:
            for number in range(count):
                member = tarfile.TarInfo(f"{number}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    archives = [tmp_path / f"{count}.tar" for count in (60, 100, 400)]
    # Larger blocks are given back at once, so that what is not needed is not counted.
    done = run_python("-c", MEMORY, tmp_path / "cache", *archives, MALLOC_MMAP_THRESHOLD_="65536")
    assert done.returncode == 0, done.error_output
    counts, peaks = zip(*(map(float, line.split()) for line in done.output.splitlines()), strict=True)
    assert counts == (60, 100, 400)
    assert peaks[2] - peaks[1] < 15


def test_responses_without_a_pass_can_be_made_by_hand() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = PhotoActivations("tiny", [], [], {"conv1": values}, {L2().key: values[:, 0]})
    np.testing.assert_array_equal(found.of(Channel("conv1", 1)), [1, 3, 5])
    np.testing.assert_array_equal(found.of(L2()), [0, 2, 4])
    assert found.of(Logit(1)) is None
