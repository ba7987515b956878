"""Real disks for tests: small ones that can be filled, made read-only and mounted over, without rights of one's own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import Process, finish, kill, start_command, wait_for


class Disk:
    """A small file system in memory.

    Attributes:
        path: where it is, for processes that are started by ``enter``.
        seen: the same for this process.
        enter: what to put before a command, so that it sees the disk.
    """

    def __init__(self, path: Path, seen: Path, enter: list[str], shell: Process) -> None:
        self.path, self.seen, self.enter, self._shell = path, seen, enter, shell

    def do(self, command: str) -> None:
        """Run a command with the rights to mount, such as ``mount -o remount,ro .``; the disk is its ``$DISK``."""
        assert self._shell.stdin is not None
        before = self._shell.output
        self._shell.stdin.write(f"{command} && echo done || echo failed\n")
        self._shell.stdin.flush()
        wait_for(lambda: self._shell.output.removeprefix(before).endswith("\n"), self._shell)
        assert self._shell.output.removeprefix(before) == "done\n", (command, self._shell.error_output)

    def fill(self, name: str = "ballast") -> Path:
        """Write until not a byte is free; returns the file that takes the room."""
        ballast = self.seen / name
        with open(ballast, "ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"\1" * size)
                except OSError:
                    continue
        return ballast


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """Mount a disk at an empty folder: in a namespace of its own where one may, else as root; skips where neither may be."""
    for enter in (["unshare", "--user", "--map-root-user", "--mount"], []):
        try:
            shell = start_command("sh", under=enter, stdin=subprocess.PIPE, separate=True, DISK=str(path))
        except OSError:  # no such command
            continue
        number = str(shell.pid)
        disk = Disk(path, Path(f"/proc/{number}/root{path}") if enter else path, [], shell)
        if enter:
            disk.enter = [
                "nsenter",
                "--target",
                number,
                "--user",
                "--preserve-credentials",
                "--mount",
                "--wdns=" + os.getcwd(),
            ]
        try:
            disk.do(f'mount -t tmpfs -o size={megabytes}m,mode=0777 lightning_fv_test "$DISK"')
            assert finish(start_command("true", under=disk.enter))[0] == 0
        except (AssertionError, OSError):
            kill(shell)
            continue
        try:
            yield disk
        finally:
            if not enter:
                disk.do('umount -l "$DISK"')
            assert shell.stdin is not None
            shell.stdin.close()
            finish(shell)
        return
    pytest.skip("no disk can be mounted here: neither user namespaces nor root")
