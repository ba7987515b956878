"""Weight files: damaged, hostile, of another network, or no weights at all."""

import io
import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor

from lightning_fv.networks.demo import ASSETS
from lightning_fv.networks.weights import read_metadata, read_weights
from tests.faults.fuzzing import damage
from tests.faults.fuzzing.oracle import FaultError, check_ending, check_refusal, records
from tests.faults.fuzzing.server import Case, Command
from tests.faults.fuzzing.templates import SHORT, Template

ARCHITECTURE = "test_resnet"


class _Runs:
    """Its pickle runs a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def weights_case(chance: Random, place: Path, templates: dict[str, Template], inherited: int, told: list[str]) -> Case:
    """A weights file for the demo network or a checkpoint of a small timm one: exit 2 in one line, or an honest run."""
    cwd, canary, file = (
        place / "cwd",
        place / "canary",
        place / chance.choice(["weights.pth", "w.safetensors", "w.bin", "w"]),
    )
    cwd.mkdir(parents=True)
    demo = chance.random() < 0.5
    if demo:
        state = read_weights(ASSETS / "demo.safetensors")
        words = ["--network", "demo", "--weights", str(file)]
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            state = dict(timm.create_model(ARCHITECTURE, num_classes=5).state_dict())
        words = ["--network", f"checkpoint:{file}", "--architecture", f"timm/{ARCHITECTURE}"]
    what = _write(chance, file, state, read_metadata(ASSETS / "demo.safetensors") if demo else {}, canary)
    told.append(f"{'demo --weights' if demo else 'checkpoint:'} {file.name}: {damage.plain(what)}")
    if chance.random() < 0.4:
        name, *rest = words[1:]
        told.append("layers")
        words = ["layers", name, *rest]
    else:
        words += ["--out", str(place / "run"), *SHORT, "--targets", "logits:1+logits:3"]
        words += [] if demo else ["--mean", "[0.5, 0.5, 0.5]", "--std", "[0.5, 0.5, 0.5]", "--input_size", "[32, 32]"]
    result = yield Command(words, cwd)
    if canary.exists() or list(cwd.iterdir()):
        raise FaultError("code was run", f"exit {result.code}")
    check_ending(result, (0, 1, 2), inherited)
    if result.code == 2:
        check_refusal(result)
        if (place / "run").exists():
            raise FaultError("refused too late", result.err[-300:])
        return "refused (2)"
    if result.code == 0 and words[0] != "layers":
        made = records(place / "run" / "manifest.jsonl")
        if len(made) != 2 or any(record.score is None or not math.isfinite(record.score) for record in made):
            raise FaultError("wrong picture called done", f"{[record.score for record in made]}")
    return "made" if result.code == 0 else "not done (1)"


def _write(chance: Random, file: Path, state: dict[str, Tensor], metadata: dict[str, str], canary: Path) -> str:
    """Write a weights file with a fault; returns which."""
    told = []
    if chance.random() < 0.45:
        told.append(_change(chance, state, metadata))
    kind = chance.choice(["zip", "legacy", "safetensors", "safetensors"])
    if kind == "safetensors":
        try:
            tensors = {name: value.clone().contiguous() for name, value in state.items()}
            content = safetensors.torch.save(tensors, metadata or None)
        except Exception:  # what it cannot hold, torch's format can
            kind = "zip"
    if kind != "safetensors":
        buffer = io.BytesIO()
        wrapped: Any = chance.choice(
            [state, {"state_dict": state}, {"model": state, "epoch": 3}, [state], {"net": state}]
        )
        torch.save(wrapped, buffer, _use_new_zipfile_serialization=kind == "zip")
        content = buffer.getvalue()
    told.append(kind)
    if not told[:-1] or chance.random() < 0.3:
        how = chance.random()
        if how < 0.55:
            way = chance.choice(sorted(damage.BYTES))
            content = damage.BYTES[way](chance, file, content)
            told.append(way)
            if kind == "safetensors" and chance.random() < 0.5:
                content, what = _header(chance, content)
                told.append(what)
        else:
            name = chance.choice(sorted(_HOSTILE))
            content = _HOSTILE[name](chance, canary, content)
            told.append(name)
    file.write_bytes(content)
    return ", ".join(told)


def _change(chance: Random, state: dict[str, Any], metadata: dict[str, str]) -> str:
    name = chance.choice(sorted(state))
    tensor = state[name]

    def to(value: Any) -> None:
        state[name] = value

    def meta() -> None:
        if metadata:
            key = chance.choice(sorted(metadata))
            metadata[key] = chance.choice(
                [
                    "",
                    "x",
                    "null",
                    "[]",
                    "{}",
                    "[1]",
                    "nan",
                    "[[0.5]]",
                    "[0, 0, 0]",
                    "[1e400, 1, 1]",
                    "[64]",
                    "1" * 5000,
                    "[" * 100_000,
                ]
            )

    changes: dict[str, Callable[[], object]] = {
        "dropped": lambda: state.pop(name),
        "renamed": lambda: state.update({name + "x": state.pop(name)}),
        "added": lambda: state.update({chance.choice(["x", "", "a\nb", "\x1b[31m", "é" * 300]): tensor}),
        "NaN": lambda: to(torch.full_like(tensor, math.nan) if tensor.is_floating_point() else tensor),
        "infinite": lambda: to(torch.full_like(tensor, math.inf) if tensor.is_floating_point() else tensor),
        "huge": lambda: to(tensor * 1e30),
        "zeros": lambda: to(torch.zeros_like(tensor)),
        "all NaN": lambda: [
            state.update({key: torch.full_like(value, math.nan)})
            for key, value in list(state.items())
            if value.is_floating_point()
        ],
        "half shape": lambda: to(tensor.flatten()[: max(1, tensor.numel() // 2)].clone()),
        "transposed": lambda: to(tensor.transpose(0, -1).contiguous() if tensor.dim() > 1 else tensor[None]),
        "empty tensor": lambda: to(torch.empty(0)),
        "scalar": lambda: to(torch.tensor(1.0)),
        "float64": lambda: to(tensor.double()),
        "float16": lambda: to(tensor.half()),
        "bfloat16": lambda: to(tensor.bfloat16()),
        "integers": lambda: to(tensor.to(torch.int8)),
        "complex": lambda: to(tensor.to(torch.complex64)),
        "booleans": lambda: to(tensor > 0),
        "sparse": lambda: to(tensor.to_sparse()),
        "meta": lambda: to(torch.empty(10**6, 10**6, device="meta")),
        "expanded": lambda: to(torch.zeros(1).expand(10**6, 10**6)),
        "text": lambda: to("x"),
        "None": lambda: to(None),
        "prefix": lambda: [state.update({"module." + key: state.pop(key)}) for key in list(state)],
        "number as name": lambda: state.update({3: tensor}),  # type: ignore[dict-item]
        "nothing left": state.clear,
        "metadata": meta,
    }
    what = chance.choice(sorted(changes))
    changes[what]()
    return f"{name} {what}"


def _header(chance: Random, content: bytes) -> tuple[bytes, str]:
    """A safetensors file with another header."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
    except (ValueError, struct.error):
        return content, "no header left"
    how = chance.choice(["mutated", "length", "shape", "offsets"])
    if how == "length":
        return struct.pack("<Q", chance.choice([0, 1, 2**40, 2**63, length + 1, length - 1])) + content[
            8:
        ], "length of the header"
    if how == "mutated":
        header, told = damage.mutate(chance, header)
    else:
        name = chance.choice(sorted(key for key in header if key != "__metadata__"))
        told = f"{how} of {name}"
        if how == "shape":
            header[name]["shape"] = chance.choice([[10**12], [2**62, 4], [0], [-1], [], [1] * 1000])
        else:
            header[name]["data_offsets"] = chance.choice([[0, 2**62], [4, 0], [0, 0], [-1, 1], [0, 4]])
    try:
        text = damage.to_json(header)
    except (ValueError, RecursionError):
        return content, "header as it is"
    return struct.pack("<Q", len(text)) + text + content[8 + length :], told


def _zip(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _bomb(chance: Random, canary: Path, content: bytes) -> bytes:
    """A zip of torch.save's names that unpacks into gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        with archive.open(chance.choice(["archive/data.pkl", "archive/data/0"]), "w", force_zip64=True) as member:
            for _ in range(chance.choice([300, 4500])):
                member.write(bytes(1 << 20))
        if "archive/data.pkl" not in archive.namelist():
            archive.writestr("archive/data.pkl", pickle.dumps({}))
    return buffer.getvalue()


def _calls(chance: Random, canary: Path, content: bytes) -> bytes:
    call = chance.choice([
        _Runs(os.system, f"touch {canary}"), _Runs(os.mkdir, str(canary)), _Runs(eval, f"open({str(canary)!r}, 'w')"),
        _Runs(open, str(canary), "w"), _Runs(getattr, int, "real"), _Runs(bytearray, 10**12), _Runs(torch.empty, 10**12),
        _Runs(torch.zeros, 10**11),
    ])  # fmt: skip
    value = {"state_dict": {"fc.weight": call}}
    how = chance.choice(["pickle", "torch", "legacy"])
    if how == "pickle":
        return pickle.dumps(value, chance.choice([0, 2, 4]))
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=how == "torch")
    return buffer.getvalue()


def _deep(chance: Random, canary: Path, content: bytes) -> bytes:
    """A pickle of lists in lists."""
    data = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    return _zip({"archive/data.pkl": data, "archive/version": b"3\n"}) if chance.random() < 0.5 else data


_HOSTILE: dict[str, Callable[[Random, Path, bytes], bytes]] = {
    "zip bomb": _bomb,
    "a pickle that runs code": _calls,
    "a pickle nested deep": _deep,
    "a pickle of a huge number": lambda c, p, b: b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x" * 100,
    "a pickle of a huge memo": lambda c, p, b: b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".",
    "a pickle of text": lambda c, p, b: pickle.dumps("hello"),
    "an ordinary zip": lambda c, p, b: _zip({"readme.txt": b"hello"}, zipfile.ZIP_DEFLATED),
    "an empty zip": lambda c, p, b: _zip({}),
    "a zip with ../ in it": lambda c, p, b: _zip({"../../canary": b"x", "archive/data.pkl": pickle.dumps({})}),
    "a page": lambda c, p, b: b"\n\n<html><title>Sign in</title></html>",
    "an LFS pointer": lambda c, p, b: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
    "JSON": lambda c, p, b: b'{"state_dict": {}}',
    "a TorchScript file": lambda c, p, b: _zip({"m/data.pkl": b"\x80\x02}.", "m/code/__torch__.py": b"", "m/constants.pkl": b"\x80\x02)."}),
    "an empty safetensors file": lambda c, p, b: struct.pack("<Q", 2) + b"{}",
    "a tar file": lambda c, p, b: b"\x00" * 10240,
    "a PNG": lambda c, p, b: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "HDF5": lambda c, p, b: b"\x89HDF\r\n\x1a\n" + bytes(2000),
    "gzip": lambda c, p, b: b"\x1f\x8b\x08\x00" + c.randbytes(300),
}  # fmt: skip
