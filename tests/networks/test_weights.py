"""Weights from files, with everything that can be wrong in one, and what is refused when they are loaded."""

import hashlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.vision_transformer import MLPBlock

from lightning_fv.errors import CheckpointError
from lightning_fv.networks.weights import load_strictly, read_metadata, read_weights
from tests.helpers import TinyNet


def torch_bytes(content: object, old_format: bool = False, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=not old_format)
    return buffer.getvalue()


GOOD = torch_bytes(TinyNet().state_dict())
FLIPPED = GOOD[:1000] + bytes([GOOD[1000] ^ 1]) + GOOD[1001:]
HTML = b"<!DOCTYPE html>\n<html>you must log in</html>" * 40


def one_line(error: pytest.ExceptionInfo[CheckpointError], *parts: object) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 1000
    for part in parts:
        assert str(part) in text
    return text


class Evil:
    def __init__(self, path: Path, function: Callable[..., object]) -> None:
        self.path, self.function = path, function

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, (f"touch {self.path}" if self.function is os.system else str(self.path),)


EVIL = {
    "zip": (lambda c: torch_bytes(c), os.mkdir, "posix.mkdir"),
    "zip, blocked module": (lambda c: torch_bytes(c), os.system, "posix.system"),
    "old format": (lambda c: torch_bytes(c, old_format=True), os.system, "posix.system"),
    "older pickle": (lambda c: torch_bytes(c, protocol=1), os.mkdir, "posix.mkdir"),
    "newest pickle": (lambda c: torch_bytes(c, protocol=5), os.system, "posix.system"),
    "bare pickle": (lambda c: pickle.dumps(c, protocol=2), os.system, "not written by torch.save"),
    "bare newest pickle": (pickle.dumps, os.system, "not written by torch.save"),
}


@pytest.mark.parametrize("kind", EVIL)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_code_in_a_file_is_never_run(tmp_path: Path, kind: str, suffix: str) -> None:
    dump, function, named = EVIL[kind]
    touched = tmp_path / "touched"
    evil = dump({"state_dict": {**TinyNet().state_dict(), "x": Evil(touched, function)}})
    path = tmp_path / f"net{suffix}"
    path.write_bytes(evil)
    expected = hashlib.sha256(GOOD).hexdigest()
    with pytest.raises(CheckpointError, match="not the published file") as error:
        read_weights(path, expected)
    one_line(error, path, hashlib.sha256(evil).hexdigest(), expected)
    with pytest.raises(CheckpointError, match=r"cannot be read as weights|does not hold a dict of tensors") as error:
        read_weights(path)
    one_line(error, path, f"{len(evil)} bytes", named)
    assert not touched.exists()


def test_evil_was_evil(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    for function in (os.system, os.mkdir):
        torch.load(io.BytesIO(torch_bytes(Evil(touched, function))), weights_only=False)
        assert touched.exists()
        touched.unlink() if touched.is_file() else touched.rmdir()


def test_the_variable_that_makes_torch_careless_is_no_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "net.pth"
    path.write_bytes(torch_bytes({"x": Evil(tmp_path / "touched", os.system)}))
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        read_weights(path)
    assert not (tmp_path / "touched").exists()


def test_a_pickled_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(TinyNet(), path)
    with pytest.raises(CheckpointError, match=r"tests\.helpers\.TinyNet") as error:
        read_weights(path)
    assert "weights_only=False" not in one_line(error, path)


def prefixed(state: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((f"module.{name}", value) for name, value in state.items())


def as_stylized_imagenet(network: nn.Module) -> bytes:
    """As Geirhos et al. 2019 saved theirs: DataParallel, optimizer, old format."""
    network.train().requires_grad_(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 60,
        "arch": "resnet50",
        "state_dict": nn.DataParallel(network).state_dict(),
        "best_prec1": torch.tensor(60.2),
        "optimizer": optimizer.state_dict(),
    }
    return torch_bytes(content, old_format=True)


def test_a_file_as_of_stylized_imagenet(tmp_path: Path) -> None:
    network = TinyNet()
    content = as_stylized_imagenet(network)
    path = tmp_path / "net.pth.tar"
    path.write_bytes(content)
    state = read_weights(path, hashlib.sha256(content).hexdigest()[:8])
    assert type(state) is dict
    assert not hasattr(state, "_metadata")
    assert list(state) == list(network.state_dict())
    assert not any(value.requires_grad for value in state.values())
    other = TinyNet(seed=1)
    load_strictly(other, state, str(path))
    torch.testing.assert_close(other.state_dict(), network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda s: s, ["b", "a.w", "n"]),
        (lambda s: {"state_dict": s}, ["b", "a.w", "n"]),
        (lambda s: {"model": s, "epoch": 3}, ["b", "a.w", "n"]),
        (lambda s: {"model": prefixed(s)}, ["b", "a.w", "n"]),
        (lambda s: {**s, "module.c": s["b"]}, ["b", "a.w", "n", "module.c"]),
    ],
)
@pytest.mark.parametrize("old_format", [False, True])
def test_wrappings(tmp_path: Path, wrap: Callable[[object], object], names: list[str], old_format: bool) -> None:
    state = {"b": torch.rand(3).half(), "a.w": nn.Parameter(torch.rand(2, 3).double()), "n": torch.tensor(7)}
    path = tmp_path / "net.pt"
    path.write_bytes(torch_bytes(wrap(state), old_format))
    found = read_weights(path)
    assert list(found) == names
    assert type(found["a.w"]) is Tensor
    for name, value in state.items():
        torch.testing.assert_close(found[name], value.float() if name != "n" else value, rtol=0, atol=0)


def test_safetensors(tmp_path: Path) -> None:
    state = {f"module.{name}": torch.rand(3) for name in "cab"} | {"module.h": torch.rand(2).bfloat16()}
    path = tmp_path / "net.safetensors"
    save_file(state, path)
    found = read_weights(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert set(found) == set("cabh")
    for name, value in found.items():
        torch.testing.assert_close(value, state[f"module.{name}"].float(), rtol=0, atol=0)


OLD = torch_bytes(prefixed(TinyNet().state_dict()), old_format=True)


def safetensors_bytes(folder: Path) -> bytes:
    save_file(TinyNet().state_dict(), folder / "made.safetensors")
    return (folder / "made.safetensors").read_bytes()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"", "it is empty: download"),
        (HTML, "HTML page"),
        (b"\xef\xbb\xbf\n" + HTML, "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"nothing that is known", "download it again"),
        (GOOD[: len(GOOD) // 2], "truncated zip file"),
        (GOOD[:-30], "truncated zip file"),
        (OLD[: len(OLD) // 2], "download it again"),
        (OLD[:40], "download it again"),
        (OLD[:-1], "download it again"),
        (pickle.dumps({"a": 1}), "only the state_dict's tensors"),
        (pickle.dumps({"a": 1}, protocol=2), "only the state_dict's tensors"),
        ("safetensors", "download it again"),
        ("safetensors header", "download it again"),
    ],
)
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes | str, remedy: str) -> None:
    if isinstance(content, str):
        content = safetensors_bytes(tmp_path)[: 60 if "header" in content else -1]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    assert "weights_only" not in one_line(error, path, f"{len(content)} bytes", remedy)
    with pytest.raises(CheckpointError) as error:
        read_weights(path, hashlib.sha256(GOOD).hexdigest())
    remedy = remedy if any(word in remedy for word in ("empty", "HTML", "lfs", "zip")) else "delete it and download it"
    one_line(error, path, "not the published file", remedy)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
def test_the_format_is_told_by_the_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    for content in (GOOD, OLD, safetensors_bytes(tmp_path)):
        path.write_bytes(content)
        assert read_weights(path).keys() == TinyNet().state_dict().keys()


def test_metadata(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "net.safetensors", {"categories": "[]"})
    assert read_metadata(tmp_path / "net.safetensors") == {"categories": "[]"}
    for content in (safetensors_bytes(tmp_path), GOOD, OLD, HTML, b""):
        (tmp_path / "other").write_bytes(content)
        assert read_metadata(tmp_path / "other") == {}


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.pth"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    one_line(error, f"cannot read the weights file {path}")


@pytest.mark.parametrize("make", [lambda folder: GOOD, lambda folder: OLD, safetensors_bytes])
@pytest.mark.parametrize("digits", [8, 64])
def test_any_flipped_byte_is_found_by_digest(tmp_path: Path, make: Callable[[Path], bytes], digits: int) -> None:
    content = make(tmp_path)
    path = tmp_path / ("net.safetensors" if make is safetensors_bytes else "net.pth")
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()[:digits].upper()
    read_weights(path, digest)
    for position in torch.randint(len(content), (10,), generator=torch.Generator().manual_seed(0)).tolist():
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(CheckpointError, match="not the published file"):
            read_weights(path, digest)


@pytest.mark.parametrize("content", [GOOD, OLD])
def test_garbage_without_a_digest_is_one_line_or_tensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pth"
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        damaged = bytearray(content)
        for position in torch.randint(min(len(content), 3000), (3,), generator=generator).tolist():
            damaged[position] = int(torch.randint(256, (), generator=generator))
        path.write_bytes(damaged)
        try:
            state: dict[str, Tensor] | str = read_weights(path)
        except CheckpointError as error:
            state = str(error)
        assert isinstance(state, dict) or (str(path) in state and "\n" not in state)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (torch.rand(3), "a Tensor"),
        ([torch.rand(3)], "a list"),
        ({}, "it is empty"),
        ({"epoch": 3, "w": torch.rand(3)}, "'epoch': int"),
        ({"state_dict": {"w": "text"}}, "'w': str"),
        ({1: torch.rand(3)}, "the name 1"),
        ({"a\nb": 3}, "'a\\nb': int"),
    ],
)
def test_no_dict_of_tensors(tmp_path: Path, content: object, what: str) -> None:
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    one_line(error, path, "does not hold a dict of tensors", what)


def test_a_torchscript_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", pickle.dumps((), protocol=2))
        archive.writestr("net/data.pkl", pickle.dumps((), protocol=2))
        archive.writestr("net/version", "3\n")
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    one_line(error, path)


def test_old_batch_norms_load() -> None:
    network = TinyNet()
    network.bn.num_batches_tracked += 5
    state = {name: value.clone() for name, value in TinyNet(seed=1).state_dict().items() if "num_batches" not in name}
    names = list(state)
    load_strictly(network, state, "old.pth")
    assert list(state) == names
    assert network.bn.num_batches_tracked == 0
    torch.testing.assert_close({n: network.state_dict()[n] for n in names}, state, rtol=0, atol=0)


def test_names_that_a_module_converts_itself() -> None:
    """torchvision published its ViT before it renamed these layers."""
    block = MLPBlock(4, 8, 0.0)
    state = {
        f"linear_{i}.{n}": torch.rand_like(getattr(block[3 * i - 3], n)) for i in (1, 2) for n in ("weight", "bias")
    }
    load_strictly(block, state, "vit.pth")
    torch.testing.assert_close(block[3].weight, state["linear_2.weight"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: s.pop("conv2.bias"), ["1 missing (conv2.bias)"]),
        (lambda s: s.update(x=torch.rand(1), y=torch.rand(1)), ["2 unexpected (x, y)"]),
        (lambda s: s.update({"conv1.weight": torch.rand(8, 3, 5, 5)}), ["conv1.weight: (8, 3, 5, 5) for (8, 3, 3, 3)"]),
        (lambda s: s.update({f"layer.{i}": torch.rand(1) for i in range(7)}), ["7 unexpected", "layer.4, ...)"]),
        (lambda s: s.clear(), ["8 missing (conv1.weight, conv1.bias, bn.weight, bn.bias, bn.running_mean, ...)"]),
        (
            lambda s: (s.pop("bn.bias"), s.update({"z": torch.rand(1), "conv2.bias": torch.rand(6)})),
            ["1 missing", "1 unexpected", "1 of another shape"],
        ),
    ],
)
def test_what_does_not_fit_changes_nothing(change: Callable[[dict[str, Tensor]], object], parts: list[str]) -> None:
    network = TinyNet().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = {name: torch.rand_like(value, dtype=torch.float32) for name, value in before.items()}
    change(state)
    with pytest.raises(CheckpointError) as error:
        load_strictly(network, state, "mine.pth")
    one_line(error, "mine.pth does not fit TinyNet", "choose the architecture", *parts)
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


def test_a_prefix_of_all_names_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    state = TinyNet(1).state_dict()
    module = TinyNet()
    load_strictly(module, {f"net.model.{name}": tensor for name, tensor in state.items()}, "mine.ckpt")
    assert capsys.readouterr().err == "lightning-fv: mine.ckpt: all names begin with 'net.model.', which is left out\n"
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in state.items())
    old = {f"model.{name}": tensor for name, tensor in state.items() if "num_batches" not in name}
    load_strictly(TinyNet(), old, "mine.ckpt")
    for others in ({"loss.weight": torch.ones(3)}, {"model.more": torch.ones(3)}):
        with pytest.raises(CheckpointError, match=r"8 missing.*unexpected \(model\.conv1"):
            load_strictly(TinyNet(), {**old, **others}, "mine.ckpt")


def test_another_number_of_classes_names_what_works() -> None:
    state = TinyNet().state_dict()
    seven = {"conv2.weight": torch.rand(7, 8, 3, 3), "conv2.bias": torch.rand(7)}
    told = "it has 7 classes: load it by --network checkpoint:w.pt --architecture torchvision/tiny, with the --mean and --std"
    with pytest.raises(CheckpointError, match=told):
        load_strictly(TinyNet(), {**state, **seven}, "w.pt", "torchvision/tiny")
    wider = {"conv2.weight": torch.rand(7, 9, 3, 3), "conv2.bias": torch.rand(7)}
    for other in (wider, seven | {"bn.weight": torch.rand(9)}):
        with pytest.raises(CheckpointError, match="choose the architecture"):
            load_strictly(TinyNet(), {**state, **other}, "w.pt", "torchvision/tiny")
    with pytest.raises(CheckpointError, match="choose the architecture"):
        load_strictly(TinyNet(), {**state, **seven}, "w.pt")
