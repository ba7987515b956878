"""Checkpoints: whole or not there, and the last good one is found."""

import os
from pathlib import Path

import pytest
import torch

from lightning_fv.errors import CheckpointError
from lightning_fv.runs.checkpoints import AtomicCheckpointIO, latest_checkpoint


def save(folder: Path, step: int) -> Path:
    path = folder / f"step={step}.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"x": torch.tensor(step)}, "global_step": step}, path)
    return path


def test_the_latest_is_the_one_of_most_steps(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "none") is None
    save(tmp_path, 9)
    newest = save(tmp_path, 100)
    save(tmp_path, 20)
    assert latest_checkpoint(tmp_path) == newest


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", "half", "evil"])
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path: Path, damage: bytes | str) -> None:
    good, bad = save(tmp_path, 5), save(tmp_path, 8)
    if damage == "half":
        damage = bad.read_bytes()[: bad.stat().st_size // 2]
    if damage == "evil":
        torch.save({"state_dict": Evil(tmp_path / "executed")}, bad)
    else:
        bad.write_bytes(damage)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match=r"step=8.ckpt cannot be read .*falling back"):
        assert latest_checkpoint(tmp_path) == good
    assert not (tmp_path / "executed").exists()
    good.write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(CheckpointError, match="none of the"):
        latest_checkpoint(tmp_path)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": (i for i in ())}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """torch.load reads on over damage in the numbers; the digest at the end tells."""
    good, bad = save(tmp_path, 5), tmp_path / "step=8.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"x": torch.arange(1000.0)}, "global_step": 8}, bad)
    content = bytearray(bad.read_bytes())
    place = content.find(torch.tensor(500.0).numpy().tobytes())
    content[place] ^= 0x40
    bad.write_bytes(content)
    assert torch.load(bad, weights_only=True)["state_dict"]["x"].shape == (1000,)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert latest_checkpoint(tmp_path) == good


def test_the_second_of_a_step_stands_in_for_the_first(tmp_path: Path) -> None:
    """Lightning calls a second checkpoint of a step ``-v1``."""
    bad = save(tmp_path, 8)
    good = bad.with_name("step=8-v1.ckpt")
    good.write_bytes(bad.read_bytes())
    bad.write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be read"):
        assert latest_checkpoint(tmp_path) == good


def test_one_of_another_step_or_job_is_found(tmp_path: Path) -> None:
    folder, other = (tmp_path / job / "checkpoints" for job in ("a", "b"))
    good = save(folder, 5)
    places = [folder / "step=8.ckpt", folder / "step=1000000000.ckpt", folder / "step=9.ckpt"]
    for place, source in zip(places, [good, good, save(other, 9)], strict=True):
        place.write_bytes(source.read_bytes())
        with pytest.warns(
            UserWarning, match=f"{place.name} cannot be read .it was truncated or modified, or belongs to another job"
        ):
            assert latest_checkpoint(folder) == good
        place.unlink()
    (tmp_path / "a").rename(tmp_path / "c")  # a job is known by the name of its folder
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(CheckpointError, match="none of the"):
        latest_checkpoint(tmp_path / "c" / "checkpoints")


def test_every_changed_byte_and_every_cut_is_found(tmp_path: Path) -> None:
    good, bad = save(tmp_path, 5), save(tmp_path, 8)
    whole = bad.read_bytes()
    places = range(0, len(whole), max(1, len(whole) // 100))
    damaged = [whole[:place] for place in places]
    damaged += [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in [*places, len(whole) - 1]]
    for content in [*damaged, whole + b"x"]:
        bad.write_bytes(content)
        with pytest.warns(UserWarning, match="cannot be read"):
            assert latest_checkpoint(tmp_path) == good
    bad.write_bytes(whole)
    assert latest_checkpoint(tmp_path) == bad


@pytest.mark.timeout(60)
def test_a_pipe_or_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    good = save(tmp_path, 5)
    os.mkfifo(tmp_path / "step=8.ckpt")
    (tmp_path / "step=9.ckpt").mkdir()
    with pytest.warns(UserWarning, match=r"step=8.ckpt cannot be read \(it is a named pipe, not a file\)"):
        assert latest_checkpoint(tmp_path) == good


def test_only_own_checkpoints_are_removed(tmp_path: Path) -> None:
    """A resumed checkpoint names the files that Lightning asks to remove."""
    (tmp_path / "checkpoints").mkdir()
    foreign = tmp_path / "step=1.ckpt"
    foreign.write_text("mine")
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "checkpoints" / ".." / "step=1.ckpt")
    assert foreign.exists()
