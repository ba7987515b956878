"""What happens to files: on disks, in copies, in editors."""

import contextlib
import json
import math
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

Damage = Callable[[Random, Path, bytes], bytes]


def _flip(chance: Random, file: Path, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 8, 100])):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _zero(chance: Random, file: Path, content: bytes) -> bytes:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice([1, 16, 512, 4096]))
    return content[:start] + bytes(end - start) + content[end:]


def _cut(chance: Random, file: Path, content: bytes) -> bytes:
    return content[
        : chance.choice([1, len(content) // 2, max(0, len(content) - 1), chance.randrange(len(content) + 1)])
    ]


def _insert(chance: Random, file: Path, content: bytes) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + chance.randbytes(chance.choice([1, 4, 64])) + content[place:]


def _remove(chance: Random, file: Path, content: bytes) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + content[place + chance.choice([1, 4, 64, 4096]) :]


def _lines(change: Callable[[Random, list[bytes]], list[bytes]]) -> Damage:
    return lambda chance, file, content: b"".join(change(chance, content.splitlines(keepends=True) or [b""]))


def _drop_line(chance: Random, lines: list[bytes]) -> list[bytes]:
    place = chance.randrange(len(lines))
    return lines[:place] + lines[place + 1 :]


def _repeat_line(chance: Random, lines: list[bytes]) -> list[bytes]:
    place = chance.randrange(len(lines))
    return lines[: place + 1] + lines[place:]


def _indent_line(chance: Random, lines: list[bytes]) -> list[bytes]:
    place = chance.randrange(len(lines))
    return [
        *lines[:place],
        chance.choice([b"\t", b" ", b"   ", b"- ", b"? ", b"# "]) + lines[place],
        *lines[place + 1 :],
    ]


def _swap_lines(chance: Random, lines: list[bytes]) -> list[bytes]:
    first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return lines


BYTES: dict[str, Damage] = {
    "empty": lambda chance, file, content: b"",
    "cut off": _cut,
    "bits flipped": _flip,
    "bytes zeroed": _zero,
    "all bytes zero": lambda chance, file, content: bytes(len(content)),
    "bytes inserted": _insert,
    "bytes removed": _remove,
    "garbage": lambda chance, file, content: chance.randbytes(chance.choice([1, 100, len(content)])),
    "garbage appended": lambda chance, file, content: content + chance.randbytes(chance.choice([1, 100, 5000])),
    "written twice": lambda chance, file, content: content + content,
    "a web page": lambda chance, file, content: b"<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>\n",
    "a newline": lambda chance, file, content: b"\n",
}
TEXT: dict[str, Damage] = {
    "CRLF": lambda chance, file, content: content.replace(b"\n", b"\r\n"),
    "CR": lambda chance, file, content: content.replace(b"\n", b"\r"),
    "byte order mark": lambda chance, file, content: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda chance, file, content: content.decode("utf-8", "replace").encode("utf-16"),
    "Latin-1": lambda chance, file, content: content.replace(b"e", b"\xe9", 1),
    "without last newline": lambda chance, file, content: content.rstrip(b"\n"),
    "a line missing": _lines(_drop_line),
    "a line twice": _lines(_repeat_line),
    "lines swapped": _lines(_swap_lines),
    "a line indented": _lines(_indent_line),
    "blank lines": lambda chance, file, content: content.replace(b"\n", b"\n\n"),
    "cut at a line": _lines(lambda chance, lines: lines[: chance.randrange(len(lines))]),
    "escape sequences": lambda chance, file, content: content.replace(b"l", b"\x1b[31ml", 1),
}

NUMBERS: list[Any] = [0, -1, 1, 2, 7, 3.5, 1e308, -1e308, 2**31, 2**63, 10**30, 10**400, math.nan, math.inf, -math.inf]
VALUES: list[Any] = [
    *NUMBERS, None, True, False, "", " ", "x", "done", "failed", "pending", "\x00", "\x1b[2J", "a\nb", "é", "\ud800",
    "../../../etc/passwd", "/etc/passwd", "images/../../outside/note.txt", "images", "x" * 1000, [], [[]], [1, 2, 3],
    [None], ["a", 1], {}, {"a": 1}, {"": ""}, "1", "1e5", "nan", "<script>alert(1)</script>",
]  # fmt: skip
"""What may stand where something else is expected."""


def shown(value: Any) -> str:
    """A value in a few characters, for the line that tells what was done."""
    try:
        text = ascii(value)
    except ValueError:  # an integer of too many digits
        text = "a huge number"
    return text if len(text) < 60 else f"{text[:50]}... ({len(text)} characters)"


def mutate(chance: Random, value: Any) -> tuple[Any, str]:
    """A JSON value with something changed in it, at any depth; and what."""
    path = "$"
    holder: Any = [value]
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and chance.random() < 0.85:
        holder = holder[key]
        key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        path += f".{key}"
        if isinstance(holder[key], dict | list) and chance.random() < 0.3:
            break
    top = path == "$"
    how = chance.choice(["value", "value", "value", "delete", "add", "nest", "deep", "wrap", "rename"])
    if how == "value" or (top and how in ("delete", "rename")):
        new = chance.choice(VALUES)
        holder[key] = new
        text = f"{path} = {shown(new)}"
    elif how == "delete":
        del holder[key]
        text = f"{path} deleted"
    elif how == "rename" and isinstance(holder, dict):
        holder[str(key).upper()] = holder.pop(key)
        text = f"{path} in capitals"
    elif how == "add" and isinstance(holder[key], dict):
        name, new = chance.choice(["x", "", "id ", "__class__", "\x1b[1m", "self"]), chance.choice(VALUES)
        holder[key][name] = new
        text = f"{path}.{shown(name)} = {shown(new)} added"
    elif how == "nest":
        holder[key] = {"a": holder[key]}
        text = f"{path} inside an object"
    elif how == "deep":
        depth = chance.choice([50, 900, 100_000])
        holder[key] = _Deep(depth, chance.choice("[{"))
        text = f"{path} nested {depth} deep"
    else:
        holder[key] = [holder[key]] * chance.choice([1, 2, 50])
        text = f"{path} in a list"
    return (holder[0] if top else value), text


class _Deep:
    """Stands for a nested value, which json.dumps could not write."""

    def __init__(self, depth: int, kind: str) -> None:
        self.text = "[" * depth + "]" * depth if kind == "[" else '{"a":' * depth + "1" + "}" * depth


def to_json(value: Any) -> bytes:
    """JSON of a mutated value."""
    deep: list[str] = []

    def mark(item: Any) -> str:
        deep.append(item.text)
        return f"@deep{len(deep) - 1}@"

    text = json.dumps(value, default=mark)
    for number, content in enumerate(deep):
        text = text.replace(f'"@deep{number}@"', content)
    return text.encode()


def mutate_json(chance: Random, file: Path) -> str:
    """Change records in a file of JSON lines, or of one value; returns what was changed."""
    lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
    told, changed = [], [line.encode() for line in lines]
    how = chance.random()
    if how < 0.12 and lines:
        kind = chance.choice(
            ["twice", "reversed", "first only", "100 times", "an empty object", "an array", "a number"]
        )
        extra: dict[str, list[bytes]] = {
            "twice": changed * 2, "reversed": changed[::-1], "first only": changed[:1], "100 times": changed * 100,
            "an empty object": [*changed, b"{}"], "an array": [b"[" + b",".join(changed) + b"]"],
            "a number": [*changed, b"1"],
        }  # fmt: skip
        changed = extra[kind]
        told.append(f"records: {kind}")
    for _ in range(chance.choice([1, 1, 2]) if not told else 0):
        place = chance.randrange(len(lines))
        with contextlib.suppress(ValueError):
            value, what = mutate(chance, json.loads(changed[place]))
            changed[place] = to_json(value)
            told.append(f"line {place + 1}: {what}")
    file.write_bytes(b"".join(line + b"\n" for line in changed))
    return ", ".join(told)


def change_yaml(chance: Random, file: Path) -> str:
    """Another value in one line of a YAML file; returns what was changed."""
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    places = [number for number, line in enumerate(lines) if ":" in line]
    if not places:
        return "nothing to change"
    place = chance.choice(places)
    key = lines[place].partition(":")[0]
    new = chance.choice(
        ["", "null", "1", "-1", "nan", ".inf", "true", "[]", "{}", "[1, 2]", "{a: 1}", "'x'", "!!python/name:os.system",
         "*a", "&a x", "'", "1e400", "0x10", "2026-01-01", "'\\x1b'", '"\\x1b[2J"', "|", "?", "logits:1", "os.system"]
    )  # fmt: skip
    lines[place] = f"{key}: {new}"
    file.write_text("\n".join(lines), encoding="utf-8")
    return f"line {place + 1}: {key.strip()}: {new}"


def rewrite_checkpoint(chance: Random, file: Path) -> str:
    """A checkpoint that torch can read, with something else in it; returns what was changed."""
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    state, optimizer = checkpoint["state_dict"], checkpoint["optimizer_states"]
    name = chance.choice(sorted(state))

    def other(change: Callable[[Any], Any]) -> str:
        state[name] = change(state[name])
        return name

    def drop(holder: Any) -> str:
        if not holder:
            return "nothing"
        key = chance.choice(sorted(holder, key=str) if isinstance(holder, dict) else range(len(holder)))
        del holder[key]
        return str(key)

    def random_value(holder: dict[str, Any]) -> str:
        key, value = chance.choice(sorted(holder)), chance.choice([*VALUES[:15], None, "x", [], {}])
        holder[key] = value
        return f"{key} = {shown(value)}"

    def step(value: Any) -> str:
        checkpoint["global_step"] = value
        return shown(value)

    def loops() -> str:
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        progress["completed"] = chance.choice([0, 100, -1])
        return shown(progress["completed"])

    changes: dict[str, Callable[[], str]] = {
        "a key dropped": lambda: drop(checkpoint),
        "a key of the state dropped": lambda: drop(state),
        "a key of the state twice": lambda: state.update({f"{name}.copy": state[name]}) or name,
        "an empty state": lambda: state.clear() or "",
        "NaN in the state": lambda: other(lambda t: torch.full_like(t, math.nan) if t.is_floating_point() else t),
        "another shape": lambda: other(lambda t: t.flatten()[: max(1, t.numel() // 2)].clone()),
        "one more row": lambda: other(lambda t: torch.cat([t, t]) if t.dim() else t.expand(2).clone()),
        "a text as tensor": lambda: other(lambda t: "x"),
        "double precision": lambda: other(lambda t: t.double()),
        "no optimizer": lambda: optimizer.clear() or "",
        "optimizer without state": lambda: optimizer[0]["state"].clear() if optimizer else "",
        "optimizer without groups": lambda: optimizer[0]["param_groups"].clear() if optimizer else "",
        "a key of the optimizer dropped": lambda: drop(optimizer[0]),
        "a value at the top": lambda: random_value(checkpoint),
        "a wrong step": lambda: step(chance.choice([0, -1, 5, 6, 7, 10**9, "3", None, 2.5])),
        "loops": loops,
        "a key of the callbacks dropped": lambda: drop(checkpoint["callbacks"]),
    }
    what = chance.choice(sorted(changes))
    detail = changes[what]() or ""
    torch.save(checkpoint, file)
    return f"{what} {detail}".strip()


def special(chance: Random, file: Path, outside: Path) -> str:
    """Something that is no file in the place of a file or folder; returns what."""
    others = sorted(path for path in file.parent.iterdir() if path != file and not path.is_symlink())
    content = file.read_bytes() if file.is_file() else b""
    number = len(list(outside.iterdir()))
    if file.is_dir() and not file.is_symlink():
        moved: Path | None = file.rename(outside / f"moved {number}")
    else:
        file.unlink()
        moved = None
    how = chance.choice(
        ["folder", "full folder", "FIFO", "socket", "link to itself", "dangling link", "link inside", "link outside",
         "link outside", "link to /dev/zero", "link to /dev/full", "link to /dev/null"]
    )  # fmt: skip
    if how in ("folder", "full folder"):
        file.mkdir()
        if how == "full folder":
            (file / "x").write_text("x")
    elif how == "FIFO":
        os.mkfifo(file)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(file.parent):
            made.bind(file.name)
    elif how == "link inside":
        file.symlink_to(chance.choice(others).name if others else "nothing")
    elif how == "link outside":
        if moved is None:
            (outside / f"copy {number}").write_bytes(content)
        file.symlink_to(moved or outside / f"copy {number}")
    else:
        target = {"link to itself": file.name, "dangling link": str(outside / "none")}
        file.symlink_to(target.get(how, how.removeprefix("link to ")))
    return how


def odd_files(chance: Random, run: Path) -> str:
    """A file or folder that does not belong there; returns what."""
    folders = [run, *sorted(path for path in run.rglob("*") if path.is_dir() and not path.is_symlink())]
    folder = chance.choice(folders)
    name = chance.choice(
        ["x", ".DS_Store", "Thumbs.db", "._config.yaml", ".nfs000001", "step=99999999999999999999.ckpt", "step=1.ckpt",
         "step=-1.ckpt", "step=2-v1.ckpt", "step=5-v99999.ckpt", "x.ckpt", "last.ckpt", "00000009.jpg", "x.jpg",
         "²³.jpg", "9" * 30 + ".jpg", "x.png", "x.lock", "x.partial", ".x.partial", "new\nline", "a" * 255, "-rf",
         "done.jsonl", "unfinished.jsonl", "error.txt", "config.yaml~", "config (1).yaml", "manifest.jsonl",
         "events.out.tfevents.1.x.1.0"]
    )  # fmt: skip
    kind = chance.choice(["empty file", "file", "folder", "FIFO", "dangling link"])
    if chance.random() < 0.05:
        path = os.path.join(os.fsencode(folder), b"\xff\xfe")
        with contextlib.suppress(OSError), open(path, "wb"):
            pass
        return f"a file named b'\\xff\\xfe' in {folder.relative_to(run)}"
    made = folder / name
    if os.path.lexists(made):
        return f"{name} is there"
    if kind == "folder":
        made.mkdir()
    elif kind == "FIFO":
        os.mkfifo(made)
    elif kind == "dangling link":
        made.symlink_to("nowhere")
    else:
        made.write_bytes(b"" if kind == "empty file" else chance.randbytes(50))
    return f"{kind} {name[:40]!r} in {folder.relative_to(run)}"


def plain(text: str) -> str:
    """On one line, without control characters."""
    return re.sub(r"[^ -~]+", "?", text)
