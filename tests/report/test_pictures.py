"""Pictures that somebody put in the place of a run's: damaged, bombs, of another kind."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from lightning_fv.commands.main import main
from lightning_fv.errors import RunFolderError
from lightning_fv.report import contact_sheet, read_picture, write_gallery
from lightning_fv.runs.record import read_manifest

QUICK = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


def bomb(side: int = 20_000) -> bytes:
    """A PNG of a few bytes that says it is ``side`` pixels square."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_pillows_limit_is_in_force() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS <= 2**27


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (bomb(), "exceeds limit"),
        (b"", "cannot identify"),
        (bomb(8), "unexpected end|truncated|incomplete"),
        (b"GIF89a" + bytes(100), "cannot identify"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"the picture .*x\.png cannot be read: .*({told})"):
        read_picture(tmp_path / "x.png")


def test_a_run_with_a_bomb_among_its_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sheet and gallery of the rest are made; a comparison makes the picture again."""
    out = tmp_path / "out"
    args = ["compare", "--out", str(out), *QUICK, "--networks", "demo", "demo/stylized"]
    assert main([*args, "--targets", "logits:0-1", "--trainer.max_steps", "1", "--model.size", "16"]) == 0
    run = out / "demo"
    records = read_manifest(run / "manifest.jsonl")
    picture = run / str(records[0].image)
    whole = picture.read_bytes()
    picture.write_bytes(bomb())
    contact_sheet(run, records, run / "sheet.png")
    with Image.open(run / "sheet.png") as sheet:
        assert sheet.getpixel((40, 40)) == (0xDD, 0xDD, 0xDD)
    with pytest.warns(
        UserWarning, match=f"1 of 2 pictures are missing or were changed, such as {records[0].image}; render"
    ):
        assert records[0].id in write_gallery([run]).read_text()
    capsys.readouterr()
    assert main([*args, "--resume"]) == 0
    assert f"{records[0].image} is missing or was changed; the job is rendered again" in capsys.readouterr().err
    with Image.open(picture) as again, Image.open(io.BytesIO(whole)) as before:
        assert again.tobytes() == before.tobytes()
